"""`Transport.exchange`: a one-time code for a credential, by the shipped bundle, against a real server."""

import json
import socket

import pytest
from javascript import WEB, needs_node, node

from contactsync.library.accounts import Accounts

pytestmark = [needs_node, pytest.mark.slow]


def exchange(url, code):
    bundle = json.dumps(str(WEB / "bundle" / "contactsync.mjs"))
    script = f"""import {{ Transport }} from {bundle};
        const seen = [];
        const transport = new Transport({json.dumps(url)}, '', {{ watch: (one) => seen.push(one) }});
        const said = await transport.exchange({json.dumps(code)}).catch(
          (error) => ({{ hint: error.hint, problem: error.problem, name: error.name }}));
        console.log(JSON.stringify({{ said, seen }}));"""
    return json.loads(node("--input-type=module", "-e", script).stdout)


def test_a_code_brings_a_credential_once(operator, served):
    code = Accounts(operator.folder).sign_in("javascript", lasts=60)
    found = exchange(served.url, code)
    assert operator.accounts.find(found["said"]["credential"]).name == "javascript"
    assert found["said"]["audience"] == "people"
    assert found["seen"] == [{"method": "POST", "path": "/v1/sign-in", "octets": len(code) + 11, "ranges": 0}]
    again = exchange(served.url, code)["said"]
    assert (again["name"], again["problem"]) == ("Refused", "bad-code")
    assert again["hint"].startswith("open the page again")


def test_it_is_asked_for_once_where_nobody_answers():
    with socket.socket() as taken:  # bound, so that nobody else is there, and not listening
        taken.bind(("127.0.0.1", 0))
        found = exchange(f"http://127.0.0.1:{taken.getsockname()[1]}", "csc_x")
    assert found["said"]["name"] == "NetworkError"
    assert len(found["seen"]) == 1
