"""Files that appear whole or not at all, written by several processes, killed ones, on a full disk."""

import ast
import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contactsync.foundation import durable

HEAD = """
import os, pathlib, resource, signal, sys
from contactsync.foundation import durable
path = pathlib.Path(sys.argv[1])
"""


def python(script, *arguments, **options):
    command = [sys.executable, "-c", HEAD + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, **options)


def scratches(folder):
    return [path for path in folder.iterdir() if path.suffix == ".part"]


def test_a_file_is_replaced_and_private(tmp_path):
    path = tmp_path / "file"
    durable.write(path, b"old")
    durable.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("mode", "umask", "there"), [(0o644, 0o022, 0o644), (0o644, 0o077, 0o600), (0o600, 0, 0o600)]
)
def test_the_mode_is_that_of_the_new_file(tmp_path, mode, umask, there):
    path = tmp_path / "file"
    path.touch(0o666)
    before = os.umask(umask)
    try:
        with durable.replacing(path, mode=mode):
            (scratch,) = scratches(tmp_path)
            assert scratch.stat().st_mode & 0o777 == there
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == there


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    durable.write(path, b"old")

    def begin_and_fail():
        with durable.replacing(path) as file:
            file.write(b"new" * 100_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        begin_and_fail()
    with pytest.raises(TypeError):
        durable.write(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path):
    """The limit on the size of files stands for it: writes fail in the middle."""
    path = tmp_path / "file"
    durable.write(path, b"old")
    script = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    durable.write(path, b"new" * 10_000)
except OSError as error:
    print(error.strerror)
"""
    with python(script, path) as process:
        assert b"too large" in process.communicate()[0]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_an_error(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        durable.write(tmp_path / "file", b"new")
    with pytest.raises(FileNotFoundError):
        durable.write(tmp_path / "missing" / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    script = """
with durable.replacing(path) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with python(script, path) as process:
        assert process.wait() == -signal.SIGKILL
    (left,) = scratches(tmp_path)
    others = {
        *(".file.part", ".file.0123.part", ".file.0123456789ABCDEF.part", "file.0123456789abcdef.part"),
        ".file.more.0123456789abcdef.part",
    }
    for name in others:
        (tmp_path / name).write_bytes(b"of somebody else")
    os.mkfifo(tmp_path / ".file.00000000000000f1.part")  # must not be waited for
    (tmp_path / ".file.00000000000000f2.part").symlink_to(tmp_path / "nowhere")
    durable.write(path, b"whole")
    assert not left.exists()
    assert {p.name for p in tmp_path.iterdir()} >= {"file", *others}
    assert path.read_bytes() == b"whole"


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "file"
    with durable.replacing(path) as slow:
        slow.write(b"first begun, last done")
        durable.write(path, b"second")
        assert len(scratches(tmp_path)) == 1
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first begun, last done"
    assert list(tmp_path.iterdir()) == [path]


def test_a_scratch_that_is_taken_for_abandoned_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    """The race of two processes, with the other one inserted at the worst moment."""
    path, real, made = tmp_path / "file", fcntl.flock, []

    def flock(file, how):
        if how == fcntl.LOCK_EX and not made:
            made.extend(scratches(tmp_path))
            durable.remove_abandoned(path.parent, of=path.name)
            assert not scratches(tmp_path)
        return real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    durable.write(path, b"data")
    assert len(made) == 1
    assert path.read_bytes() == b"data"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_processes_and_threads_at_once_and_some_killed(tmp_path):
    path = tmp_path / "file"
    script = """
for number in range(200):
    durable.write(path, sys.argv[2].encode() * 5000)
"""
    durable.write(path, b"0" * 5000)
    processes = [python(script, path, digit) for digit in "1234"]

    def write():
        for _ in range(50):
            durable.write(path, b"5" * 5000)
            data = path.read_bytes()
            assert data == data[:1] * 5000

    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(write) for _ in range(2)]
        processes[0].kill()
        for one in writing:
            one.result()
    processes[1].kill()
    assert [process.wait() for process in processes] == [-signal.SIGKILL, -signal.SIGKILL, 0, 0]
    for process in processes:
        process.stdout.close()
    durable.write(path, b"last")
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_private_and_made_once(tmp_path):
    inner = tmp_path / "a" / "b"
    durable.private_folder(inner)
    assert [folder.stat().st_mode & 0o777 for folder in (inner, inner.parent)] == [0o700, 0o700]
    inner.chmod(0o750)
    durable.private_folder(inner)
    assert inner.stat().st_mode & 0o777 == 0o750  # whoever changed it meant it
    with pytest.raises(FileExistsError):
        durable.make_folder(inner, exist_ok=False)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        durable.make_folder(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_folder_that_may_be_written_but_not_read(tmp_path):
    tmp_path.chmod(0o733)
    script = """
os.chdir(path)
os.setegid(65534)
os.seteuid(65534)
durable.write(pathlib.Path("file"), b"data")
print("done")
"""
    with python(script, tmp_path) as process:
        assert process.communicate()[0] == b"done\n"
    assert (tmp_path / "file").read_bytes() == b"data"


def test_a_removed_file_is_gone(tmp_path):
    (tmp_path / "file").touch()
    durable.remove(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        durable.remove(tmp_path / "file")


KNOWN = {
    "foundation/durable.py": {"replace", "fsync", "O_CREAT"},
    "kernels/policy.py": {"replace", "mkstemp"},  # the kernel cache: by digest
    "client/state.py": {"O_CREAT"},  # a lock
    "carddav/store.py": {"O_CREAT"},  # a lock
    "client/cache_file.py": {"connect", "O_CREAT"},  # SQLite
    "client/download.py": {"fsync", "O_CREAT"},  # a part that grows; durable.py gives it its name
    "audit/publication.py": {"rename"},  # scratch
    "server/admin/serve.py": {"O_CREAT"},  # a lock
    "server/objects/folder.py": {"O_CREAT"},  # a lock
    "server/settings.py": {"O_CREAT"},  # a lock
    "server/storage/sqlite/database.py": {"connect"},  # SQLite
    "server/storage/sqlite/copying.py": {"connect"},  # a copy that durable.py gives its name, or scratch
    "server/storage/sqlite/moving.py": {"connect"},  # new files that durable.py gives their names
    "server/storage/sqlite/registry.py": {"connect", "O_CREAT"},  # SQLite
    "server/storage/sqlite/erasing.py": {"connect", "fsync"},  # SQLite; zeros, where nobody reads
    "server/storage/sqlite/accounts.py": {"connect"},  # SQLite; the file appears whole
    "server/publishing/job.py": {"O_CREAT"},  # how far a job is, for whoever waits; lost without harm
    "server/publishing/remote/cluster.py": {"write_bytes"},  # a nonce, gone before the first job
    "server/publishing/remote/worker.py": {"write_bytes"},  # the answer to it
    "witness/folder.py": {"connect"},  # SQLite
    "sources/databases.py": {"connect"},  # a copy in memory of somebody's address book
    "audit/vectors/formats.py": {"write_bytes"},  # vectors, into a temporary folder
    "audit/vectors/runs.py": {"write_bytes"},  # the same
    "audit/vectors/labelled.py": {"write_bytes"},  # the same
    "audit/transcript/files.py": {"write_bytes"},  # what a transcript shows, into a temporary folder
    "audit/transcript/trusted.py": {"write_bytes"},  # the same
    "commands/_output.py": {"write_text"},  # to a pipe or a device
    "commands/manual.py": {"write_text"},  # pages of a checkout, which git has
    "commands/demo.py": {"write_text", "O_CREAT"},  # what the demonstration shows
    "commands/reference.py": {"write_text"},  # `make docs`
}
"""What writes beside durable.py, and why it may."""

WRITERS = {"replace", "rename", "write_bytes", "write_text", "mkstemp", "fsync", "connect"}


def writers(tree):
    """What a module calls to create or replace a file, by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "O_CREAT":
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS:
            name, of = node.func.attr, getattr(node.func.value, "id", "")
            of_text = name == "replace" and (len(node.args) != 1 or of == "dataclasses")
            if not of_text and of != "durable" and (name != "connect" or of == "sqlite3"):
                yield name


@pytest.mark.slow
def test_nothing_else_in_the_package_replaces_files():
    package = Path(durable.__file__).parents[1]
    found = {
        str(path.relative_to(package)): set(writers(ast.parse(path.read_text("utf-8"))))
        for path in package.rglob("*.py")
    }
    assert {name: calls for name, calls in found.items() if calls} == KNOWN
