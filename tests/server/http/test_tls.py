"""TLS of the server itself, Unix sockets, and what systemd gives and hears. By real processes."""

import contextlib
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from contextlib import closing

import pytest
from authority import Authority
from server_tools import GERMAN, Operator, command

from contactsync.foundation.errors import BadInput, CallerError
from contactsync.serving.listening import unix_socket
from contactsync.serving.systemd import Notify, given_sockets
from contactsync.serving.tls import Certificate

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def authority():
    return Authority()


def issued(authority, folder, *, days=1):
    """A file with a key and its certificate."""
    folder.mkdir(exist_ok=True)
    authority.context(folder, ("127.0.0.1",), days)
    path = folder / "server.pem"
    path.chmod(0o600)
    return path


def test_what_cannot_be_served_is_said(authority, tmp_path):
    good, other = (issued(authority, tmp_path / name) for name in ("good", "other"))
    Certificate(good, good)
    with pytest.raises(BadInput, match=r"other/key\.pem is not the key of .*good/cate\.pem"):
        Certificate(_only(good, "CERTIFICATE"), _only(other, "PRIVATE KEY"))
    with pytest.raises(BadInput, match="expired on"):
        Certificate(*[issued(authority, tmp_path / "old", days=-1)] * 2)
    with pytest.raises(BadInput, match=r"cannot read .*: No such file"):
        Certificate(good, tmp_path / "none")
    with pytest.raises(BadInput, match="contains no certificate"):
        Certificate(_only(good, "PRIVATE KEY"), good)
    with pytest.raises(BadInput, match="cannot be used"):
        Certificate(good, _only(good, "CERTIFICATE"))
    locked = tmp_path / "locked.pem"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    locked.chmod(0o600)
    with pytest.raises(BadInput, match="has a passphrase"):
        Certificate(good, locked)
    good.chmod(0o604)
    with pytest.raises(BadInput, match="all users can read"):
        Certificate(good, good)


def _only(path, kind):
    """A part of a file, in a file of its own beside it."""
    text = path.read_text()
    end = f"-----END {kind}-----\n"
    made = path.with_name(f"{kind[-4:].strip().lower()}.pem")
    made.write_text(text[text.index(f"-----BEGIN {kind}-----") : text.index(end) + len(end)])
    made.chmod(0o600)
    return made


@pytest.fixture
def operator(tmp_path):
    operator = Operator(tmp_path / "server")
    operator.add(GERMAN)
    operator.publish()
    with closing(operator):
        yield operator


def started(operator, *options):
    line = command("serve", "--port", "0", *options, data=operator.folder.path)
    log = (operator.folder.path.parent / "log").open("w+")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True)
    said = process.stdout.readline()
    assert said.startswith("listening on "), (operator.folder.path.parent / "log").read_text()
    return process, said.removeprefix("listening on ").strip(), log


@contextlib.contextmanager
def running(operator, *options):
    process, where, log = started(operator, *options)
    try:
        yield process, where, (operator.folder.path.parent / "log").read_text
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        log.close()


def shaken(port, authority, tmp_path, **versions):
    """A connection over TLS."""
    context = ssl.create_default_context(cafile=authority.write(tmp_path / "ca.pem"))
    for name, version in versions.items():
        setattr(context, name, version)
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    return context.wrap_socket(raw, server_hostname="127.0.0.1")


def answer(connection):
    with connection:
        connection.sendall(HEALTH)
        return connection.makefile("rb").read()[9:12]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "two workers"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_and_its_renewal(operator, authority, tmp_path, workers):
    pem = issued(authority, tmp_path / "tls")
    options = ("--tls-cert", str(pem), "--tls-key", str(pem), *workers)
    with running(operator, *options) as (process, where, log):
        assert where.startswith("https://127.0.0.1:")
        port = int(where.rpartition(":")[2])
        assert answer(shaken(port, authority, tmp_path)) == b"200"
        assert answer(shaken(port, authority, tmp_path, maximum_version=ssl.TLSVersion.TLSv1_2)) == b"200"
        weak = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        weak.check_hostname, weak.verify_mode = False, ssl.CERT_NONE
        weak.minimum_version, weak.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        weak.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises((ssl.SSLError, OSError)):
            weak.wrap_socket(raw)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            plain.sendall(HEALTH)
            assert b"200" not in plain.recv(100)
        first = serial(port, authority, tmp_path)
        pem.write_bytes(b"half a file")
        process.send_signal(signal.SIGHUP)
        until(lambda: "contains no certificate" in log())
        assert serial(port, authority, tmp_path) == first
        issued(authority, tmp_path / "tls")
        process.send_signal(signal.SIGHUP)
        until(lambda: serial(port, authority, tmp_path) != first)
        process.terminate()
        assert process.wait(30) == 0
        assert "Traceback" not in log()
        assert "SSL" not in log()


def serial(port, authority, tmp_path):
    with shaken(port, authority, tmp_path) as connection:
        return connection.getpeercert()["serialNumber"]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_handshake_that_never_ends_is_ended(operator, authority, tmp_path):
    settings = operator.folder.settings_file
    settings.write_text(settings.read_text().replace("head_seconds = 10", "head_seconds = 1"))
    pem = issued(authority, tmp_path / "tls")
    with running(operator, "--tls-cert", str(pem), "--tls-key", str(pem)) as (_, where, _log):
        port = int(where.rpartition(":")[2])
        silent = socket.create_connection(("127.0.0.1", port), timeout=10)
        with silent, contextlib.suppress(ConnectionError):
            assert silent.recv(1) == b""
        with shaken(port, authority, tmp_path) as silent, contextlib.suppress(OSError):
            silent.settimeout(10)
            assert silent.recv(1) == b""


@pytest.mark.slow
def test_a_stale_socket_is_replaced_and_a_living_one_is_not(tmp_path):
    path = tmp_path / "s"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    with unix_socket(path, 0o660) as first:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(CallerError, match="another process listens at"), unix_socket(path, 0o660):
            pass
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert first.getsockname() == str(path)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(CallerError, match="is no socket"), unix_socket(path, 0o660):
        pass
    assert path.read_text() == "mine"
    with pytest.raises(BadInput, match="more than 107 octets"), unix_socket(tmp_path / ("x" * 120), 0o660):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "two workers"])
def test_a_unix_socket(operator, tmp_path, workers):
    path = tmp_path / "s"
    options = ("--socket", str(path), "--socket-mode", "600", *workers)
    line = command("serve", *options, data=operator.folder.path)
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == f"listening on unix:{path}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(str(path))
            assert answer(connection) == b"200"
        process.terminate()
        assert process.wait(30) == 0
    assert not path.exists()


def test_given_sockets_are_checked(monkeypatch):
    assert given_sockets() == []
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert given_sockets() == [], "they are another process's"
    assert "LISTEN_FDS" not in os.environ
    assert Notify().watchdog is None


GIVEN = """
import os, socket, sys
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "two workers"])
def test_what_systemd_gives_and_hears(operator, tmp_path, workers):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        env = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
        line = [sys.executable, "-c", GIVEN, *command("serve", *workers, data=operator.folder.path)[1:]]
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        ) as process:
            port = int(process.stdout.readline())
            assert process.stdout.readline() == f"listening on http://127.0.0.1:{port}\n"
            heard = Heard(manager)
            assert heard.next() == "READY=1"
            with socket.create_connection(("127.0.0.1", port)) as connection:
                assert answer(connection) == b"200"
            process.send_signal(signal.SIGHUP)
            assert heard.next().startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert heard.next() == "READY=1"
            process.terminate()
            assert heard.next() == "STOPPING=1"
            assert process.wait(30) == 0
        assert heard.alive >= 1


class Heard:
    def __init__(self, manager):
        self.manager, self.alive = manager, 0

    def next(self):
        while (said := self.manager.recv(1000).decode()) == "WATCHDOG=1":
            self.alive += 1
        return said
