"""`server admin` as a process: who may connect, what is on the disk when it is killed, how it ends."""

import contextlib
import http.client
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from admin_tools import AdminProcess, member
from click.testing import CliRunner
from server_tools import GERMAN, Operator

from contactsync.commands import main
from contactsync.server.storage.ports import Members
from contactsync.server.storage.sqlite.members import SqliteMembers


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("admin")
    operator = Operator(folder / "server")
    with AdminProcess(operator.folder.path, "--socket", str(folder / "private" / "admin.sock")) as process:
        yield operator, process
        assert process.stop() == 0
    operator.close()
    assert not Path(process.path).exists()
    assert not re.search(r"tel:|4915100|Traceback|/v1/|cs_", process.log.read_text())


def run(operator, *options):
    return CliRunner().invoke(main, ["server", "admin", "--data", str(operator.folder.path), *options])


def request(method, path, head=b"", body=b""):
    return b"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n%s" % (
        method.encode(), path.encode(), head, body
    )  # fmt: skip


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


@pytest.mark.slow
def test_the_socket_is_for_its_owner_alone(site):
    operator, process = site
    path = Path(process.path)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    answer = process.raw(request("PUT", member(GERMAN)))
    assert status_of(answer) == 201
    assert operator.registry.count("people") >= 1
    assert b"server:" not in answer.lower()


@pytest.mark.slow
def test_a_second_process_is_kept_away(site, tmp_path):
    operator, process = site
    result = run(operator, "--socket", str(tmp_path / "p" / "other.sock"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "already serves" in result.stderr
    other = Operator(tmp_path / "server")
    with closing(other):
        result = run(other, "--socket", process.path)
    assert (result.exit_code, "another process listens" in result.stderr) == (3, True)
    assert status_of(process.raw(request("GET", "/v1/status"))) == 200


@pytest.fixture
def nowhere(operator, monkeypatch):
    """An operator whose `admin` ends before it would serve."""

    def refuse(*_):
        raise AssertionError("it would have served")

    monkeypatch.setattr("contactsync.server.admin.serve.run", refuse)
    return operator


def test_places_where_others_could_reach_the_socket_are_refused(nowhere, tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "own" / "file").write_text("mine")
    for place, words in {
        "open/admin.sock": "other users can enter",
        "own/file": "is no socket",
        "own/" + "x" * 120: "more than 107 octets",
        "own/file/admin.sock": "cannot listen",
    }.items():
        result = run(nowhere, "--socket", str(tmp_path / place))
        assert (result.exit_code, words in result.stderr) == (3, True), result.stderr
    assert (tmp_path / "own" / "file").read_text() == "mine"
    for options in ((), ("--socket", "a", "--port", "0"), ("--socket", "a", "--credential-file", "b")):
        assert run(nowhere, *options).exit_code == 2


def test_a_credential_file_that_others_can_read_or_that_holds_none_is_refused(nowhere, tmp_path):
    file = tmp_path / "credential"
    for content, mode, words in (
        ("cs_" + "x" * 43, 0o644, "other users can read"),
        ("", 0o600, "does not contain a credential"),
        ("cs_" + "é" * 43, 0o600, "cannot use"),
    ):
        file.write_text(content)
        file.chmod(mode)
        result = run(nowhere, "--port", "0", "--credential-file", str(file))
        assert (result.exit_code, words in result.stderr) == (3, True), result.stderr
        assert "xxx" not in result.stderr


@pytest.mark.slow
def test_a_port_needs_the_credential_that_was_made(operator):
    with AdminProcess(operator.folder.path, "--port", "0") as process:
        file = operator.folder.path / "admin.credential"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        credential = file.read_text().strip()
        assert str(file) in process.log.read_text()
        assert credential not in process.log.read_text()
        for head, status in (
            (b"", 401),
            (b"Authorization: Bearer cs_wrong\r\n", 401),
            (b"Authorization: Basic %s\r\n" % credential.encode(), 401),
            (b"Authorization: Bearer \xff\r\n", 401),
            (b"Authorization: Bearer %s\r\n" % credential.encode(), 200),
        ):
            answer = process.raw(request("GET", "/v1/status", head))
            assert status_of(answer) == status
            assert (b"www-authenticate: Bearer" in answer) == (status == 401)
        assert b"401" in process.raw(request("PUT", member(GERMAN)))[:20]
        assert operator.registry.count("people") == 0
        assert process.stop() == 0
    assert file.read_text().strip() == credential


@pytest.mark.slow
def test_a_head_without_end_is_cut_off(site):
    _, process = site
    with process.connect() as connection:
        connection.sendall(b"GET /v1/status HTTP/1.1\r\n")
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 1 << 24:
                sent += connection.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        assert sent < 1 << 20  # what the kernel holds, and the 16 kB that are read
    assert status_of(process.raw(request("GET", "/v1/status"))) == 200


@pytest.mark.slow
def test_a_long_body_is_no_long_head(site):
    _, process = site
    put = [f"tel:+{GERMAN + n}" for n in range(10_000)]
    body = json.dumps({"put": put}).encode()
    head = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    assert status_of(process.raw(request("POST", "/v1/members/batch", head, body))) == 200
    long = b"Content-Type: application/json\r\nContent-Length: 1000000000\r\n"
    assert status_of(process.raw(request("POST", "/v1/members/batch", long))) == 413
    chunked = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    chunk = b"100001\r\n" + b" " * 0x100001 + b"\r\n"  # one octet too many, and no end
    assert status_of(process.raw(request("POST", "/v1/members/batch", chunked, chunk))) == 413


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_http_is_refused_and_nothing_is_logged(site, data):
    _, process = site
    assert status_of(process.raw(data)) == 400
    assert status_of(process.raw(request("GET", "/v1/status"))) == 200


def put_until_killed(path, numbers, acknowledged):
    """Put one member after the other; note each whose answer has come."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            for number in numbers:
                connection.sendall(b"PUT %s HTTP/1.1\r\nHost: x\r\n\r\n" % member(number).encode())
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                answer.read()
                assert answer.status == 201
                acknowledged.append(number)
    except (OSError, http.client.HTTPException):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 200, 900])
def test_every_write_that_was_acknowledged_is_there_after_a_kill(operator, tmp_path, after):
    """SIGKILL in the middle of groups of writes, from sixteen connections at once."""
    with AdminProcess(operator.folder.path, "--socket", str(tmp_path / "private" / "a.sock")) as process:
        lists = [[] for _ in range(16)]
        threads = [
            threading.Thread(
                target=put_until_killed,
                args=(process.path, range(GERMAN + 100_000 * n, GERMAN + 100_000 * (n + 1)), done),
            )
            for n, done in enumerate(lists)
        ]
        for thread in threads:
            thread.start()
        while sum(map(len, lists)) < after:
            assert process.popen.poll() is None
        process.popen.kill()
        for thread in threads:
            thread.join(60)
        process.popen.wait()
    acknowledged = sorted(number for done in lists for number in done)
    assert len(acknowledged) >= after
    with closing(SqliteMembers(operator.folder.registry)) as store:
        there = store.show(Members.of([b"tel:+%d" % number for number in acknowledged]))
    assert [int(one.entry.identifier[5:]) for one in there] == acknowledged
    with AdminProcess(
        operator.folder.path, "--socket", process.path
    ):  # the socket that was left is no obstacle
        pass


@pytest.mark.slow
def test_the_process_that_faces_the_internet_cannot_reach_it():
    """`serve` loads nothing of the admin API, nor the register."""
    script = (
        "import sys; import contactsync.server.http.serve;"
        "print([name for name in sys.modules if 'server.admin' in name or 'sqlite.members' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "[]\n"
