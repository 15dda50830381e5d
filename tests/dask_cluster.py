"""A real Dask cluster for tests: scheduler and workers as processes, and a relay that hears what passes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from ports import free_port

from contactsync.server.publishing.remote.worker import VARIABLE
from contactsync.server.publishing.remote.worker_key import WorkerKey

TLS = "tls"


def wait_for(condition, what, seconds=60):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


class DaskCluster:
    """One scheduler on loopback, and the workers that a test starts; all of it ends with the block.

    `key_file` is the key that workers get unless a test says otherwise. `tls` is a folder of certificates.
    Workers and publishers reach the scheduler at `port`. A job may see so many `deaths` of workers.
    """

    def __init__(self, folder: Path, tls: Path | None = None, *, deaths: int = 3) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.tls = tls
        self.port = free_port()
        self.deaths = deaths
        self.processes = []
        self.key_file = folder / "worker.key"
        WorkerKey.create(self.key_file)
        self.scheduler = None

    def __enter__(self):
        self.start_scheduler()
        return self

    def __exit__(self, *_error):
        for process in reversed(self.processes):
            self.kill(process)

    @property
    def url(self):
        return f"{'tls' if self.tls else 'dask'}://127.0.0.1:{self.port}"

    def start_scheduler(self):
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", *self._tls(),
            more={"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(self.deaths)},
        )  # fmt: skip
        wait_for(self.accepts, "the scheduler")

    def accepts(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def start_worker(self, *, key_file="own", path=None, port=None, hook=None, wait=True, threads=1):
        """A worker. `path` is where its contactsync is, `port` where it finds the scheduler.

        `hook` is a Hook that it obeys.
        """
        more = {}
        if key_file is not None:
            more[VARIABLE] = str(self.key_file if key_file == "own" else key_file)
        if path is not None:
            more["PYTHONPATH"] = str(path)
        if hook is not None:
            more["PYTHONPATH"] = os.pathsep.join([str(hook.folder), os.environ["PYTHONPATH"]])
        protocol = "tls" if self.tls else "tcp"
        process = self._start(
            "worker", f"{protocol}://127.0.0.1:{port or self.port}", "--nthreads", str(threads), "--no-nanny",
            "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(self.folder / "scratch"),
            *self._tls(), more=more,
        )  # fmt: skip
        if wait:
            log = process.log
            wait_for(lambda: "Registered to:" in log.read_text(), "the worker")
        return process

    def _tls(self):
        if self.tls is None:
            return []
        ca, cert, key = (str(self.tls / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        return ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]

    def _start(self, *words, more=None):
        log = self.folder / f"{len(self.processes)}-{words[0]}.log"
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                stdout=file, stderr=subprocess.STDOUT, cwd=self.folder,
                env={**environment, "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False", **(more or {})},
            )  # fmt: skip
        process.log = log
        self.processes.append(process)
        return process

    @staticmethod
    def kill(process):
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


class Hook:
    """Changes what workers do with a kind of job, without a change of the package that they run.

    `kind` is the name of a function: run_evaluate, run_build, run_muster. `action` is `hold`: until `go`;
    `die`: at once; `fail`: with an error of no kind of ours; or a path: run_muster sees that folder, as if it
    were mounted there.
    """

    def __init__(self, folder: Path, kind: str, action: str) -> None:
        self.folder = folder
        folder.mkdir()
        orders = json.dumps({"kind": kind, "action": action, "folder": str(folder)})
        (folder / "sitecustomize.py").write_text(_HOOK.replace("ORDERS", repr(orders)))

    def begun(self):
        """The processes that have begun such a job."""
        return sorted(int(path.name.partition("-")[2]) for path in self.folder.glob("begun-*"))

    def go(self):
        (self.folder / "go").touch()


_HOOK = """
import json, os, pathlib, sys, time
if "worker" in sys.orig_argv:
    from contactsync.server.publishing import job
    from contactsync.server.publishing.remote import worker

    orders = json.loads(ORDERS)
    folder = pathlib.Path(orders["folder"])
    module = worker if orders["kind"] == "run_muster" else job
    original = getattr(module, orders["kind"])

    def hooked(one):
        (folder / f"begun-{os.getpid()}").touch()
        if orders["action"] == "die":
            os._exit(9)
        if orders["action"] == "fail":
            raise ValueError("text-of-the-error")
        if orders["action"] != "hold":
            return original(type(one)(orders["action"]))
        while not (folder / "go").exists():
            time.sleep(0.02)
        return original(one)

    setattr(module, orders["kind"], hooked)
"""


class Relay:
    """Passes connections on to a port, and keeps every octet of each direction."""

    def __init__(self, port: int) -> None:
        self.to = port
        self._streams = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._sockets = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @property
    def heard(self):
        """All octets, those of a direction of a connection in their order."""
        return b"\n".join(bytes(one) for one in list(self._streams))

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(("127.0.0.1", self.to))
                self._sockets += [here, there]
                for a, b in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a, b):
        heard = bytearray()
        self._streams.append(heard)
        with contextlib.suppress(OSError):
            while octets := a.recv(1 << 16):
                heard += octets
                b.sendall(octets)
        with contextlib.suppress(OSError):
            b.shutdown(socket.SHUT_WR)
