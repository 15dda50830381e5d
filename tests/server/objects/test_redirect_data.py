"""`serve --redirect-data`: a real server, a real store, a real sync; and who is not sent to the store."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import urllib3
from click.testing import CliRunner
from server_tools import GERMAN, Operator, Process
from store_servers import PASS, REFUSE

from contactsync import Client, book_of_numbers
from contactsync.commands import main
from contactsync.server.http.redirecting import URL_SECONDS
from contactsync.server.objects.files import DATA
from contactsync.server.objects.opening import open_objects
from contactsync.server.objects.ports import ACCOUNTS_ONLY, Headers

HEADERS = Headers("application/octet-stream", ACCOUNTS_ONLY)
pytestmark = pytest.mark.slow


@pytest.fixture
def served(tmp_path, faulty):
    """A server that redirects to a store behind the proxy; the credential of an account."""
    proxy, url = faulty
    operator = Operator(tmp_path / "server", log=True)
    operator.add(*range(GERMAN, GERMAN + 300))
    operator.folder.name_store(url)
    operator.publish()
    credential = run("accounts", "add", "me", data=operator.folder.path).strip()
    with Process(operator.folder.path, "--redirect-data") as process:
        proxy.asked.clear()
        yield operator, process, credential
    operator.close()


def run(*words, data, code=0):
    done = CliRunner().invoke(main, ["server", *words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done.output


def get(process, path, credential, method="GET", **fields):
    headers = {"authorization": f"Bearer {credential}", **fields}
    return urllib3.request(method, process.url + path, headers=headers, redirect=False, retries=False)


def test_a_sync_gets_its_files_from_the_store(served, faulty, tmp_path):
    operator, process, credential = served
    proxy, _ = faulty
    file, state = tmp_path / "credential", tmp_path / "state"
    file.write_text(credential)
    file.chmod(0o600)
    book = tmp_path / "book.csv"
    book.write_text(f"Name,Phone\nAda,+{GERMAN}\nBob,+4915199999999\n")

    def contactsync(*words):
        done = subprocess.run(
            [sys.executable, "-m", "contactsync", *map(str, words), "--state", str(state)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done

    contactsync("trust", process.url, "--yes")
    done = contactsync("sync", book, "--credential-file", file, "--json")
    found = json.loads(done.stdout)
    assert len(found["matches"]) == 1
    host = proxy.endpoint.removeprefix("http://")
    assert f"{host} saw which files this address fetched" in done.stdout + done.stderr
    asked = [one for one in proxy.asked if f"/{DATA}/" in one.path]
    assert {one.method for one in asked} == {"GET"}
    assert {one.path.partition("?")[0].rpartition("/")[2] for one in asked} == operator.data_files()
    for one in asked:
        assert "X-Amz-Signature=" in one.path
        assert f"X-Amz-Expires={URL_SECONDS}" in one.path
        assert credential not in f"{one.path}{one.headers}"
        assert "authorization" not in {name.lower() for name in one.headers}
    log = process.log.read_text()
    assert "Signature" not in log
    assert "not-a-real-secret" not in log


def test_who_is_sent_to_the_store(served):
    operator, process, credential = served
    [sha256, *_] = sorted(operator.data_files())
    path, content = f"/v1/data/{sha256}", (operator.folder.data / sha256).read_bytes()
    reply = get(process, path, credential, prefer="redirect")
    assert (reply.status, reply.data) == (307, b"")
    assert (reply.headers["cache-control"], reply.headers["vary"]) == ("no-store", "Prefer")
    url = reply.headers["location"]
    assert urllib3.request("GET", url).data == content
    reply = urllib3.request("GET", url, headers={"range": "bytes=10-19"})
    assert (reply.status, reply.data) == (206, content[10:20])
    assert get(process, path, credential, prefer="respond-async, redirect;x=1").status == 307
    assert get(process, path, credential, prefer="redirect", range="bytes=10-").status == 307
    # Whoever does not ask for it, lists of ranges, other methods: from here, as ever.
    assert get(process, path, credential).data == content
    assert get(process, path, credential, prefer="redirected, respond-async").data == content
    assert get(process, path, credential, prefer="redirect", range="bytes=0-1,5-6").status == 206
    assert get(process, path, credential, "HEAD", prefer="redirect").status == 200
    # And nobody without a credential, nor to what is not served.
    assert get(process, path, "cs_wrong", prefer="redirect").status == 401
    assert get(process, f"/v1/data/{'0' * 64}", credential, prefer="redirect").status == 404
    assert get(process, "/v1/tuf/metadata/timestamp.json", credential, prefer="redirect").status == 200


def test_what_the_store_has_not_yet_is_served_here(served, faulty, monkeypatch):
    monkeypatch.setattr("contactsync.server.objects.patient._LONGEST_PAUSE", 0.21)
    operator, process, credential = served
    proxy, _ = faulty
    before = operator.data_files()
    operator.add(GERMAN + 5000)
    proxy.fault = lambda asked: REFUSE if asked.method == "PUT" else PASS
    with pytest.raises(Exception, match="the store has not all of it"):
        operator.publish()
    new = sorted(operator.data_files() - before)
    assert new
    for sha256 in new:
        reply = get(process, f"/v1/data/{sha256}", credential, prefer="redirect")
        assert (reply.status, reply.data) == (200, (operator.folder.data / sha256).read_bytes())
    for sha256 in before:
        assert get(process, f"/v1/data/{sha256}", credential, prefer="redirect").status == 307
    proxy.fault = lambda _: PASS
    run("store", "copy", data=operator.folder.path)
    for sha256 in new:
        assert get(process, f"/v1/data/{sha256}", credential, prefer="redirect").status == 307


def test_nobody_is_sent_to_a_file_that_a_check_found_damaged(served, faulty, tmp_path):
    operator, process, credential = served
    _, url = faulty
    [sha256] = operator.data_files()
    whole = (operator.folder.data / sha256).read_bytes()
    objects = open_objects(url)
    _, tag = objects.read(f"{DATA}/{sha256}", 1 << 24)
    objects.replace(f"{DATA}/{sha256}", whole[:-1] + bytes([whole[-1] ^ 1]), tag, HEADERS)
    # Until then a client finds out by itself, and asks the server for it.
    client = Client(tmp_path / "state")
    client.introduce(process.url).accept()
    result = client.sync(book_of_numbers(np.array([GERMAN, GERMAN + 999], np.uint64)), credential=credential)
    assert result.numbers.tolist() == [GERMAN]
    assert get(process, f"/v1/data/{sha256}", credential, prefer="redirect").status == 307
    assert f"different: {DATA}/{sha256}\n" in run("store", "check", data=operator.folder.path, code=12)
    reply = get(process, f"/v1/data/{sha256}", credential, prefer="redirect")
    assert (reply.status, reply.data) == (200, whole)
    assert "1 file put" in run("store", "copy", data=operator.folder.path)
    assert get(process, f"/v1/data/{sha256}", credential, prefer="redirect").status == 307
    run("store", "check", data=operator.folder.path)


def test_an_account_of_another_audience_is_not_sent_there(served):
    operator, process, _ = served
    other = run("accounts", "add", "shop", "--audience", "business", data=operator.folder.path).strip()
    [sha256, *_] = operator.data_files()
    assert get(process, f"/v1/data/{sha256}", other, prefer="redirect").status == 404


def test_a_signed_url_is_for_one_object_and_ends(use_s3):
    """On the server of the two that checks signatures."""
    url = use_s3("ministack")
    objects = open_objects(url)
    for name in ("v1/data/a", "v1/data/b"):
        objects.create(name, b"content", HEADERS)
    signed = objects.signed_url("v1/data/a", 1)
    assert urllib3.request("GET", signed).status == 200
    assert urllib3.request("GET", signed.replace("/data/a", "/data/b")).status == 403
    assert urllib3.request("PUT", signed, body=b"x").status == 403
    time.sleep(2.1)
    assert urllib3.request("GET", signed).status == 403


def test_without_a_store_that_signs_it_does_not_start(tmp_path):
    data = tmp_path / "data"
    run("init", data=data)
    for url in ("", (tmp_path / "store").as_uri()):
        if url:
            run("publish", "--store", url, data=data)
        said = run("serve", "--redirect-data", "--port", "0", data=data, code=3)
        assert "needs a store whose URLs can be signed" in said
        assert "hint: name one" in said
