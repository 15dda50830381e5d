"""The main job through real processes: a server on a socket, address books in two formats, what was sent."""

import base64
import hashlib
import json
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import phonenumbers
import pytest

VCARDS = """BEGIN:VCARD
VERSION:3.0
FN:Anna Becker
TEL;TYPE=CELL:0151 2345671
END:VCARD
BEGIN:VCARD
VERSION:4.0
FN:Bodo Clausen
TEL;VALUE=uri:tel:+49-151-2345672
END:VCARD
BEGIN:VCARD
VERSION:2.1
N:Duarte;Elisa
TEL;CELL:+55 11 98765-4321
END:VCARD
"""
GOOGLE = """Name,Phone 1 - Type,Phone 1 - Value
Fatou Gueye,Mobile,+221 77 123 45 67
Harry Irvine,Mobile,+44 7911 123456 ::: +44 7911 123457
Broken,Mobile,12
"""
NUMBERS = {"DE": ["+491512345671", "+491512345672"], "BR": ["+5511987654321"], "SN": ["+221771234567"],
           "GB": ["+447911123456", "+447911123457"]}  # fmt: skip
MEMBERS = "phone\n0151 2345671\n+447911123456\n+12125550123\n+390612345678\n"


def contactsync(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "contactsync", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


class Server:
    """`contactsync server serve` as a process, with a data folder."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "server"
        self.credential = folder / "credential"
        members = folder / "members.csv"
        members.write_text(MEMBERS)
        self.run("init")
        self.run("members", "import", members, "--region", "DE")
        self.credential.write_text(self.run("accounts", "add", "alice").stdout)
        self.run("publish")
        self.process, self.url = None, ""
        self.start()

    def run(self, *arguments):
        return contactsync("server", *arguments, "--data", self.data)

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "contactsync", "server", "serve", "--data", self.data, "--port", "0"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        assert ready, "the server does not start"
        line = self.process.stdout.readline().split()
        assert line[:2] == ["listening", "on"]
        self.url = line[2]
        self.port = int(self.url.rpartition(":")[2])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.process.stdout.close()


class Tap:
    """A TCP proxy that keeps every byte that the client sends."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sockets: list[socket.socket] = []
        self.sent = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            self.sockets += [client, server]
            threading.Thread(target=self.pump, args=(client, server, self.sent), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, bytearray()), daemon=True).start()

    def close(self):
        for one in [self.listener, *self.sockets]:
            one.close()

    @staticmethod
    def pump(source, sink, kept):
        while data := source.recv(1 << 16):
            kept.extend(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("operator"))
    yield server
    server.stop()


@pytest.fixture
def books(tmp_path):
    vcards, google = tmp_path / "book.vcf", tmp_path / "google.csv"
    vcards.write_text(VCARDS)
    google.write_text(GOOGLE)
    return [vcards, google]


def sync(server, url, state, books, *more):
    done = contactsync(
        "sync", *books, "--server", url, "--credential-file", server.credential, "--state", state,
        "--region", "DE", "--json", *more,
    )  # fmt: skip
    return json.loads(done.stdout)


def names(people):
    return [person["name"] for person in people]


@pytest.mark.slow
def test_first_sync_then_a_new_member_and_a_new_contact(server, books, tmp_path):
    state = tmp_path / "state"
    contactsync("trust", server.url, "--yes", "--state", state)
    first = sync(server, server.url, state, books)
    assert first["matches"] == [
        {
            "name": "Anna Becker",
            "identifier": "tel:+491512345671",
            "written": "tel:+491512345671",
            "label": None,
        },
        {
            "name": "Harry Irvine",
            "identifier": "tel:+447911123456",
            "written": "tel:+447911123456",
            "label": None,
        },
    ]
    assert (first["contacts"], first["identifiers"]) == (6, 6)
    assert (first["evaluated"], first["new_identifiers"], len(first["unreadable"])) == (8, 6, 1)

    server.run("members", "add", "+491512345672", "+819012345678")
    server.run("publish")
    books[1].write_text(GOOGLE + "Jun Kato,Mobile,+81 90 1234 5678\n")
    second = sync(server, server.url, state, books)
    assert (second["evaluated"], second["new_identifiers"]) == (8, 1)
    assert second["edition"] == first["edition"] + 1
    assert names(second["matches"]) == ["Anna Becker", "Bodo Clausen", "Harry Irvine", "Jun Kato"]
    assert (names(second["joined"]), second["left"]) == (["Bodo Clausen"], [])
    # Who joined came in a delta, of which the state now holds one beside the base.
    (held,) = json.loads(contactsync("status", "--state", state, "--json").stdout)["servers"]
    assert held["data_files"] == 4 + 2  # bases of 1, 39, 44, 49; a new base of 81, a delta of 49
    third = sync(server, server.url, state, books, "--privacy", "screen", "--partitions", "mine")
    assert (third["new_identifiers"], third["evaluated"]) == (0, 8), "a round of nobody"
    assert (third["joined"], third["matches"]) == ([], second["matches"])
    server.run("members", "remove", "+491512345672", "+819012345678")
    server.run("publish")
    last = sync(server, server.url, state, books)
    assert (last["matches"], names(last["left"])) == (first["matches"], ["Bodo Clausen", "Jun Kato"])


def spellings(number):
    """How a number may be written: international and national, with and without marks, as URI."""
    parsed = phonenumbers.parse(number)
    formats = phonenumbers.PhoneNumberFormat
    for style in (formats.E164, formats.INTERNATIONAL, formats.NATIONAL, formats.RFC3966):
        text = phonenumbers.format_number(parsed, style)
        digits = "".join(filter(str.isdigit, text))
        yield from (text, digits, f"00{digits}")
    yield from (f"tel:{number}", number, number[1:], str(parsed.national_number))


@pytest.mark.slow
def test_nothing_that_leaves_holds_a_number_or_its_hash(server, books, tmp_path):
    sent = []
    for state in (tmp_path / "one", tmp_path / "two"):
        tap = Tap(server.port)
        contactsync("trust", tap.url, "--yes", "--state", state)
        found = sync(server, tap.url, state, books)
        assert names(found["matches"]) == ["Anna Becker", "Harry Irvine"]
        tap.close()
        # What the trust command sent is in it as well.
        assert found["bytes_sent"] <= len(tap.sent) <= found["bytes_sent"] + 400
        sent.append(bytes(tap.sent))

    texts = {text for numbers in NUMBERS.values() for number in numbers for text in spellings(number)}
    assert len(texts) > 40
    forbidden = {text.encode() for text in texts}
    for text in texts:
        for name in ("md5", "sha1", "sha256", "sha512"):
            digest = hashlib.new(name, text.encode(), usedforsecurity=False).digest()
            forbidden |= {
                digest, digest.hex().encode(), digest.hex().upper().encode(),
                base64.b64encode(digest).rstrip(b"="), base64.urlsafe_b64encode(digest).rstrip(b"="),
            }  # fmt: skip
    for stream in sent:
        assert not [value for value in forbidden if value in stream]

    # The captured points are really there: 8 of them in each, and none in both.
    points = []
    for stream in sent:
        _, _, rest = stream.partition(b"POST /v1/evaluate/people/1 ")
        body = rest.partition(b"\r\n\r\n")[2][: 8 * 32]
        assert len(body) == 8 * 32
        points.append({body[i : i + 32] for i in range(0, len(body), 32)})
    assert len(points[0]) == len(points[1]) == 8
    assert not points[0] & points[1]


@pytest.mark.slow
def test_revoked_credential_and_a_server_that_is_gone(server, books, tmp_path):
    state = tmp_path / "state"
    contactsync("trust", server.url, "--yes", "--state", state)
    credential = tmp_path / "credential"
    credential.write_text(server.run("accounts", "add", "bob").stdout)
    arguments = (
        "sync",
        *books,
        "--credential-file",
        credential,
        "--state",
        state,
        "--region",
        "DE",
        "--json",
    )
    contactsync(*arguments)
    server.run("accounts", "revoke", "bob")
    books[0].write_text(VCARDS.replace("+55 11 98765-4321", "+55 11 98765-4322"))
    refused = contactsync(*arguments, code=6)
    assert "credential" in refused.stderr
    assert json.loads(refused.stdout)["error"]["kind"] == "refused"
    cached = json.loads(contactsync("status", "--state", state, "--json").stdout)["servers"][0]["cached"]
    assert cached["identifiers"] == 6

    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert "cannot connect" in contactsync("trust", nobody, "--yes", "--state", state, code=4).stderr
