"""A whole run of a server at the most talkative level: nothing that is logged tells of anybody."""

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import urllib3
from server_tools import Process

from contactsync import Client, book_of_numbers
from contactsync.server.keyring import Keyring
from contactsync.tokens import Tokens
from contactsync.voprf.client import blind
from contactsync.voprf.server import blind_evaluate, evaluate

MEMBERS = [f"+4915123456{n:02}" for n in range(20, 60)]
CONTACTS = [f"+4915123456{n:02}" for n in range(10, 40)]
ADDED = "+4915187654321"
PASSPHRASE = "a passphrase of the keys"
TALKATIVE = """
import logging, sys
real = logging.Logger.setLevel
logging.Logger.setLevel = lambda self, level: real(self, logging.DEBUG)
logging.getLogger().setLevel(logging.DEBUG)
from contactsync.commands import main
sys.argv[0] = "contactsync"
main()
"""


class Run:
    """Everything that the processes of a data folder print."""

    def __init__(self, folder):
        self.folder, self.data, self.printed = folder, folder / "server", ""
        (folder / "passphrase").write_text(PASSPHRASE)

    def command(self, *words, standard_input="", code=0, prints_credential=False):
        done = subprocess.run(
            [sys.executable, "-c", TALKATIVE, "server", *words, "--data", str(self.data)],
            input=standard_input, capture_output=True, text=True, check=False,
            env=os.environ | {"CONTACTSYNC_PASSPHRASE": PASSPHRASE},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        self.printed += done.stderr + ("" if prints_credential else done.stdout)
        return done.stdout.strip()

    @contextlib.contextmanager
    def admin(self, form):
        """The admin API as a process."""
        words = ["server", "admin", "--port", "0", "--log-format", form, "--data", str(self.data)]
        with (self.folder / "admin.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", TALKATIVE, *words], stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                assert select.select([process.stdout], [], [], 60)[0]
                yield process
            finally:
                process.terminate()
                process.wait(30)
                process.stdout.close()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTACTSYNC_PASSPHRASE", PASSPHRASE)
    return Run(tmp_path)


def raw(port, data):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(data)
        connection.settimeout(2)
        while connection.recv(1 << 16):
            pass


def refusals(url, port, credential):
    """Requests that are refused in every way, each with a secret in it."""
    http = urllib3.PoolManager(retries=False)
    head = {"Authorization": f"Bearer {credential}", "Content-Type": "application/octet-stream"}
    body = blind([CONTACTS[0].encode()]).blinded.tobytes()
    for given, path, sent in [
        (head, "/v1/evaluate/people/9", body),
        (head, f"/v1/evaluate/people/{CONTACTS[0]}", body),
        (head, f"/v1/{credential}/{CONTACTS[1]}", body),
        (head, "/v1/evaluate/people/1", b"\0" * 32),
        (head, "/v1/evaluate/people/1", body[:-1]),
        (head, "/v1/evaluate/people/1", body * 5000),
        (head | {"Content-Type": CONTACTS[2]}, "/v1/evaluate/people/1", body),
        (head | {"Authorization": f"Bearer cs_{CONTACTS[3]}"}, "/v1/evaluate/people/1", body),
    ]:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            http.request("POST", url + path, headers=given, body=sent)
    http.request("GET", f"{url}/v1/data/{CONTACTS[4]}", headers=head | {"Range": CONTACTS[5]})
    secret = f"{credential} {CONTACTS[6]}".encode()
    for data in [
        b"GET /%s\r\n\r\n" % secret,
        b"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + secret
        + b"\r\n",
        b"GET / HTTP/1.1\r\n%s: x\r\n\r\n" % secret,
        b"GET / HTTP/1.1\r\nX: " + secret * 2000 + b"\r\n\r\n",
        secret * 100,
        b"\x16\x03\x01" + secret,
    ]:
        raw(port, data)
    return body


def everything_secret(keys, body, credentials):
    """What must not be anywhere, by name. Numbers also without their country code."""
    numbers = {*MEMBERS, *CONTACTS, ADDED}
    secrets = {f"number {n}": n.removeprefix("+49") for n in numbers}
    secrets |= {f"credential {n}": one for n, one in enumerate(credentials)} | {"passphrase": PASSPHRASE}
    outputs = evaluate(keys, [b"tel:" + number.encode() for number in sorted(numbers)])
    tokens = Tokens.from_outputs(outputs).to_bytes()
    for n, (output, token) in enumerate(zip(outputs, tokens, strict=True)):
        secrets |= {f"output {n}": bytes(output).hex()[:20], f"token {n}": token.tobytes().hex()}
    rows, _ = blind_evaluate(keys, np.frombuffer(body, np.uint8).reshape(-1, 32))
    secrets |= {"point": body.hex()[:20], "evaluated": bytes(rows[0]).hex()[:20]}
    return secrets | {"secret key": keys.secret.hex()[:20]}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_that_is_logged_tells_of_anybody(run, form):
    run.command("init")
    (run.folder / "members.txt").write_text("\n".join(MEMBERS) + "\n+49151234\nnot a number\n")
    run.command("members", "import", str(run.folder / "members.txt"), "--max-rejected", "9")
    credential = run.command("accounts", "add", "shop", prints_credential=True).split()[-1]
    run.command("publish")
    options = ["--metrics-port", "0", "--publish-every", "1s", "--log-format", form]
    with run.admin(form) as admin, Process(run.data, *options, program=("-c", TALKATIVE)) as process:
        where = re.search(r"http://\S+", admin.stdout.readline())[0]
        key = (run.data / "admin.credential").read_text().strip()
        http = urllib3.PoolManager(retries=False)
        head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        http.request("PUT", f"{where}/v1/members/tel:{ADDED}", headers=head, body=b"{}")
        http.request("PUT", f"{where}/v1/members/tel:{ADDED}x", headers=head, body=b"{}")
        http.request("GET", f"{where}/v1/members/tel:{ADDED}", headers=head | {"Authorization": "Bearer x"})
        fingerprint = re.search(r"fingerprint ([0-9a-f ]{79})", run.command("status"))[1]
        client = Client(run.folder / "state")
        client.trust(process.url, fingerprint.replace(" ", ""))
        report = client.sync(
            book_of_numbers(np.array([int(one) for one in CONTACTS], np.uint64)),
            credential=credential,
            server=process.url,
        )
        assert len(report.matches) == 20
        body = refusals(process.url, process.port, credential)
        time.sleep(2.5)  # the process beside it publishes who was added
        found = re.search(r"metrics are at (http[^\s\"]+)", process.log.read_text())
        run.printed += http.request("GET", found[1]).data.decode()
        log = process.log.read_text()
        process.stop()
    run.command("status", "--check", code=0)
    run.command("accounts", "list")
    run.command("publish", "--json")
    logs = process.log.read_text() + (run.folder / "admin.log").read_text()
    assert "serving people: epoch 1" in log
    assert "edition 2" in log, "it was published beside"
    if form == "json":
        for line in logs.splitlines():
            if not line.startswith("the credential is in "):
                assert json.loads(line)["level"], line
    keys = Keyring.open(run.data / "keys", PASSPHRASE.encode()).key_pair("people", 1)
    for name, secret in everything_secret(keys, body, [credential, key]).items():
        for text in (logs, run.printed):
            assert secret not in text, f"{name} is in what was printed"
    assert "127.0.0.1:" not in "".join(line for line in logs.splitlines() if "metrics are at" not in line)
    assert "Traceback" not in logs
