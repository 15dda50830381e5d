"""Downloads data files: resumed after an interruption, verified before they get their names.

A file is written as `NAME.part`, and renamed once its length, xxh3 and SHA-256 are those of the manifest.
Both hashes are computed while it is received. Trust rests on the SHA-256; the xxh3 detects later damage on
the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import urllib3
import xxhash

from contactsync.client.byteranges import get_file, place_of
from contactsync.client.transport import CHUNK, Transport
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadReply, NetworkError
from contactsync.publication.manifest import DataFile

Advance = Callable[[int], None]
"""Called with the number of bytes that came (negative if some that were held had to be discarded)."""


def fetch_file(transport: Transport, folder: Path, file: DataFile, advance: Advance = lambda _: None) -> Path:
    """Fetch the file into `folder` under its SHA-256, unless it is there, and return its path.

    It resumes what an interrupted call left behind: see `octets_held`. Raises NetworkError (what was received
    is kept), Refused, BadReply, and BadDirectory if the server's file is not the one in the manifest.
    """
    target = folder / file.sha256
    if is_held(folder, file, thorough=True):
        return target
    if is_held(folder, file, thorough=False):  # it was counted as held, and is damaged
        target.unlink()
        advance(octets_held(folder, file) - file.length)
    part = folder / f"{file.sha256}.part"
    resumed = part.exists()
    try:
        taken = _fill(transport, part, file, advance)
    except BaseException:
        if part.stat().st_size == 0:  # nothing was received that could be resumed
            part.unlink()
        raise
    if not taken.is_all_of(file):
        part.unlink()
        if resumed or transport.leave_stores():  # a damaged part of an earlier run, or a store
            advance(-file.length)
            return fetch_file(transport, folder, file, advance)
        raise BadDirectory(
            f"{transport.base_url} sent a data file that does not match the signed manifest",
            hint="the file was not used; if this happens again, tell the operator",
        )
    durable.rename(part, target)
    return target


def octets_held(folder: Path, file: DataFile) -> int:
    """How much of a file is there before it is fetched: all, what can be resumed, or nothing."""
    if is_held(folder, file, thorough=False):
        return file.length
    with contextlib.suppress(FileNotFoundError):
        held = (folder / f"{file.sha256}.part").stat().st_size
        return held if held <= file.length else 0
    return 0


def is_held(folder: Path, file: DataFile, *, thorough: bool) -> bool:
    """Whether a file that was verified before is still there, by its length; `thorough`: by its xxh3 too."""
    path = folder / file.sha256
    try:
        return path.stat().st_size == file.length and (not thorough or _xxh3(path) == file.xxh3_64)
    except FileNotFoundError:
        return False


class _Taken:
    """What a part contains so far: the number of octets, and both hashes of them."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Start from zero: the part was discarded."""
        self.length = 0
        self._xxh3, self._sha256 = xxhash.xxh3_64(), hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Add the next octets."""
        self.length += len(piece)
        self._xxh3.update(piece)
        self._sha256.update(piece)

    def is_all_of(self, file: DataFile) -> bool:
        """Whether this is the file in the manifest."""
        return (self._xxh3.hexdigest(), self._sha256.hexdigest()) == (file.xxh3_64, file.sha256)


def _fill(transport: Transport, part: Path, file: DataFile, advance: Advance) -> _Taken:
    """Bring the part to its full length, with as many requests as it takes while they make progress."""
    taken = _Taken()
    handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b") as stream:
        if os.fstat(handle).st_size > file.length:
            stream.truncate(0)
        while piece := stream.read(CHUNK):
            taken.add(piece)
        attempts, whole_asked = transport.patience.attempts(), False
        while taken.length < file.length:
            before = taken.length
            try:
                _request(transport, handle, taken, file, advance)
            except BadReply:
                if taken.length == 0 or whole_asked:
                    raise
                whole_asked = True  # this server does not support ranges: request the whole file, once
                stream.truncate(0)
                advance(-taken.length)
                taken.begin_anew()
            except NetworkError as error:
                # A few more octets are no progress: else a server could keep us asking forever.
                if taken.length >= before + CHUNK:
                    attempts.succeeded()
                else:
                    attempts.failed(error)
        os.fsync(handle)
    return taken


def _request(transport: Transport, handle: int, taken: _Taken, file: DataFile, advance: Advance) -> None:
    """Request the missing rest, and write it."""
    have = taken.length
    with get_file(transport, file, f"{have}-" if have else "") as reply:
        start = _start(reply, file)
        if start == 0 < have:  # the server ignores Range: start over rather than fail
            os.ftruncate(handle, 0)
            taken.begin_anew()
            advance(-have)
        elif start != have:
            raise BadReply(
                f"{transport.base_url} sent another range than the one requested", hint="tell the operator"
            )
        for piece in transport.data_chunks(reply, file.length - taken.length):
            written = 0
            while written < len(piece):
                written += os.pwrite(handle, memoryview(piece)[written:], taken.length + written)
            taken.add(piece)
            advance(len(piece))
    if taken.length < file.length:
        raise NetworkError(
            f"{transport.base_url} stopped in the middle of a file",
            hint="try again; what was received so far is kept",
        )


def _start(reply: urllib3.BaseHTTPResponse, file: DataFile) -> int:
    """The offset at which the reply's body begins. Raises BadDirectory if the file has another length."""
    length = reply.headers.get("Content-Length")
    if reply.status == 200:
        start, total = 0, length
    else:
        answered = place_of(reply.headers.get("Content-Range", ""))
        if reply.status != 206 or answered is None:
            raise BadReply("the server sent an invalid reply to a range request", hint="tell the operator")
        start, total = answered[0].start, str(answered[1])
    if total is not None and total != str(file.length):
        raise BadDirectory(
            "the length of the server's data file is not the one in the signed manifest",
            hint="the file was not used; if this happens again, tell the operator",
        )
    return start


def _xxh3(path: Path) -> str:
    digest = xxhash.xxh3_64()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
