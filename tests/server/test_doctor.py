"""`server doctor`: each thing that it examines is broken once, and it says what to do."""

import os
import resource
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from server_tools import GERMAN, Operator, Process

from contactsync.foundation.errors import BadInput
from contactsync.server import doctor as module
from contactsync.server import probe as probe_module
from contactsync.server.doctor import examine
from contactsync.server.keyring import Keyring
from contactsync.server.machine import TO_DO, executable_memory, open_files
from contactsync.server.probe import Probe


@pytest.fixture
def published(operator):
    operator.add(GERMAN)
    operator.publish()
    return operator


def problems(operator, keyring=None):
    """What is wrong, by area, with what to do."""
    found = list(examine(operator.folder, keyring or operator.keyring, datetime.now(UTC)))
    assert all(one.todo for one in found if one.state != "ok"), "each says what to do"
    return {(one.area, one.text): one.todo for one in found if one.state == "problem"}


def only(operator, area, keyring=None):
    """The problem of this area; there are no others."""
    found = problems(operator, keyring)
    assert {place for place, _ in found} == {area}, found
    return " ".join(f"{text} → {todo}" for (_, text), todo in found.items())


def test_nothing_is_wrong(published):
    assert problems(published) == {}
    assert not [path for path in published.folder.path.iterdir() if "doctor" in path.name]


def test_members_that_are_not_in_a_file_take_no_room(published):
    """As with PostgreSQL."""
    size = published.folder.registry.stat().st_size

    def needed():
        (text,) = [one.text for one in module._disk(published.folder) if "a publish may need" in one.text]
        return int(text.split("need ")[1].replace(",", ""))

    before = needed()
    published.folder.registry.rename(published.folder.path / "elsewhere")
    assert before - needed() == size
    (published.folder.path / "elsewhere").rename(published.folder.registry)
    rows = published.folder.rows / "people"
    rows.mkdir(parents=True)
    (rows / "a.rows").write_bytes(bytes(12_345))
    assert needed() - before == 12_345


def test_permissions(published):
    (published.folder.accounts).chmod(0o644)
    assert "accounts.sqlite → chmod 600" in only(published, "permissions")


def test_the_key_of_another_installation(published, tmp_path):
    other = Operator(tmp_path / "other")
    other.close()
    for role, todo in (("root", "same backup"), ("timestamp", "server keys import")):
        key = published.folder.keys / f"tuf-{role}.json"
        kept = key.read_bytes()
        shutil.copy(other.folder.keys / key.name, key)
        said = only(published, "keys")
        assert f"keys/tuf-{role}.json is not a key that the root names" in said
        assert todo in said
        key.write_bytes(kept)


def test_a_seed_that_is_not_the_published_one(published):
    (published.folder.keys / "voprf-people-1.json").unlink()
    published.keyring.new_seed("people", 1)
    assert "the key in keys/ is not the published one → restore keys/" in only(published, "keys")


def test_keys_that_cannot_be_opened(published):
    error = BadInput("the keys are encrypted with a passphrase", hint="give --passphrase-file")
    assert "not examined: the keys are encrypted" in only(published, "keys", error)


def test_a_database_that_is_damaged_or_gone(published):
    published.accounts.close()
    published.folder.accounts.write_bytes(b"no database" * 99)
    found = problems(published)
    assert {area for area, _ in found} == {"databases", "publication"}


def test_what_clients_refuse(published):
    for path in (published.folder.public / "targets").iterdir():
        path.unlink()
    found = problems(published)
    assert any(area == "publication" and "clients refuse" in text for area, text in found)


def test_a_disk_that_is_nearly_full(published, monkeypatch):
    monkeypatch.setattr(module, "LEAST_FREE", 1 << 60)
    assert "are free in" in only(published, "disk")


def test_a_clock_that_went_back(published):
    path = published.folder.public / "metadata" / "timestamp.json"
    os.utime(path, (time.time() + 3600,) * 2)
    assert "the clock went back → synchronise the clock" in only(published, "clock")


def test_a_kernel_cache_that_cannot_be_written(published, monkeypatch):
    monkeypatch.setattr(module, "cache_folders", lambda: ())
    assert "CONTACTSYNC_CACHE_DIR" in only(published, "kernel cache")


@pytest.mark.parametrize(
    ("limits", "state", "said"),
    [
        ((1024, 4095), "problem", "`serve` may have 4,095 files open, and each connection is one"),
        ((1024, 4096), "ok", "`serve` may have 4,096 files open: it raises its limit of 1,024"),
        ((1024, 524_288), "ok", "`serve` may have 524,288 files open: it raises its limit of 1,024"),
        ((8192, 8192), "ok", "`serve` may have 8,192 files open"),
        ((1024, resource.RLIM_INFINITY), "ok", "`serve` may have any number of files open"),
    ],
)
def test_open_files_are_judged_by_the_limit_that_serve_raises_to(monkeypatch, limits, state, said):
    """A soft limit of 1,024 is usual, and nobody has to change it."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    (found,) = open_files()
    assert (found.state, found.text) == (state, said)
    assert bool(found.todo) == (state == "problem")


DENY = """
import ctypes, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0): sys.exit(77)  # PR_SET_MDWE
from contactsync.commands import main
main()
"""


def test_memory_that_may_not_be_executed(published):
    """As systemd does it. Numba cannot even be loaded then, so it is found before that."""
    (found,) = executable_memory()
    assert found.state == "ok"
    words = ["server", "doctor", "--data", str(published.folder.path)]
    done = subprocess.run([sys.executable, "-c", DENY, *words], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel cannot deny it (Linux 6.3)")
    assert done.returncode == TO_DO, done
    assert "set MemoryDenyWriteExecute=no" in done.stdout


# Through a proxy


class Proxy(socketserver.ThreadingTCPServer):
    """Passes each request to the service, in the way that a test asks for."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port, *, buffers=False, heads=65536, change=lambda data: data):
        super().__init__(("127.0.0.1", 0), _Passing)
        self.port, self.buffers, self.heads, self.change = port, buffers, heads, change


class _Passing(socketserver.BaseRequestHandler):
    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := self.request.recv(1 << 16)):
                return
            head += data
        if len(head) > self.server.heads:
            self.request.sendall(b"HTTP/1.1 431 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if self.server.buffers and b"content-length: 131072" in head.lower():
            self.request.settimeout(1)
            try:
                while self.request.recv(1 << 16):
                    pass
            except TimeoutError:
                time.sleep(1)
            return
        head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        with socket.create_connection(("127.0.0.1", self.server.port), 5) as service:
            service.sendall(head)
            answer = b""
            while data := service.recv(1 << 16):
                answer += data
        self.request.sendall(self.server.change(answer))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("doctor") / "server")
    operator.add(GERMAN)
    operator.publish()
    operator.accounts.add("shop", "people", "cs_shop")
    with Process(operator.folder.path) as process:
        yield operator, process
    operator.close()


def asked(service, **proxy):
    """What is wrong with the service behind such a proxy."""
    operator, process = service
    with Proxy(process.port, **proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        found = list(Probe(url, operator.folder, credential="cs_shop").run())
        server.shutdown()
    return {one.area: one.text for one in found if one.state == "problem"}


@pytest.mark.slow
def test_probes(service, monkeypatch):
    monkeypatch.setattr(probe_module, "WAIT", 0.5)

    def replaced(old, new):
        return lambda data: data.replace(old, new)

    assert asked(service) == {}
    assert "proxy keeps bodies" in asked(service, buffers=True)["bodies"]
    assert "answered with 431" in asked(service, heads=4096)["heads"]
    changes = [
        (b"private, max-age", b"public, max-age", "data files", "replaces Cache-Control"),
        (b'etag: "', b'etag: W/"', "data files", "changes data files"),
        (b"206 Partial Content", b"200 Partial Content", "data files", "a range of a data file"),
        (b"401 Unauthorized", b"200 Unauthorized", "data files", "without a credential"),
        (b"404 Not Found", b"200 Not Found", "data files", "answered with 404"),
        (b"cache-control: no-cache", b"cache-control: max-age=9", "metadata", "replaces Cache-Control"),
        (b'"_type":"timestamp"', b'"_type":"timestamP"', "metadata", "not the one of this data folder"),
    ]
    for old, new, area, text in changes:
        assert text in asked(service, change=replaced(old, new))[area], text
    late = replaced(b"date: ", b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nx: ")
    assert "differ by" in asked(service, change=late)["clock"]
    assert "clock" not in asked(service, change=replaced(b"date: ", b"x: "))


@pytest.mark.slow
def test_nobody_answers_and_no_address(service):
    operator, _ = service
    (found,) = [one for one in Probe("http://127.0.0.1:9", operator.folder).run() if one.state == "problem"]
    assert "does not answer" in found.text
    for url in ("contacts.example.org", "http://[x", "http://contacts.example.org:99999"):
        with pytest.raises(BadInput, match="not an address"):
            Probe(url, operator.folder)


def test_keyring_is_what_is_examined(published):
    assert problems(published, Keyring.open(published.folder.keys, None)) == {}
