"""Ports for servers that bind themselves, and for those that come back to the port that they had."""

import itertools
import os
import secrets
import socket
from pathlib import Path

LOWEST = 12_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")  # of these the system takes one for each connection
_HIGHEST = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_OURS = range(LOWEST + _WORKER, _HIGHEST, _WORKERS)  # another worker of this run never takes them
_turns = itertools.count(secrets.randbelow(len(_OURS)))


def free_port():
    """A port of 127.0.0.1 that nobody listens on, no connection is given, and no one else asks for."""
    for turn in itertools.islice(_turns, len(_OURS)):
        port = _OURS[turn % len(_OURS)]
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError(f"no port from {LOWEST} to {_HIGHEST} is free")
