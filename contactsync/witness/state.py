"""What a witness keeps: its key, and of each log the checkpoint that it cosigned last.

```
STATE/witness.key            PRIVATE+KEY+NAME+ID+SEED, as the tools of Go's notes write it; 0600
STATE/logs/HASH.checkpoint   the note that was cosigned last, with our line; HASH is of the log's origin
STATE/forks/HASH-SIZE-ROOT   a checkpoint that contradicts the one that was cosigned: the log signed both
```

A note is on the disk before its cosignature leaves. Which tree a log had may not be forgotten, so a note that
cannot be read is an error, and never the beginning of a new tree.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, CallerError, ContactSyncError, OurError
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import COSIGNATURE, NoteSigner, is_name, open_note

FORKS_KEPT: Final = 64
"""Contradicting checkpoints that are kept; who holds the key of a log could send any number."""

_KEY: Final = "witness.key"
_PRIVATE: Final = "PRIVATE+KEY"
_SEED_BYTES: Final = 32


class WitnessState:
    """The folder of one witness. One process at a time uses it, by `opened`."""

    def __init__(self, folder: Path, signer: NoteSigner) -> None:
        self._folder = folder
        self.signer = signer

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path, name: str | None) -> Iterator[WitnessState]:
        """The state in a folder, made with a new key if there is none; `name` is that of the key.

        Raises BadInput: no name for a new key, or another than it has; CallerError: it is in use; OurError.
        """
        if name is not None and not is_name(name):
            raise BadInput(
                f"{name[:80]!r} cannot be the name of a witness", hint="give one without spaces and +"
            )
        with contextlib.ExitStack() as stack:
            try:
                durable.private_folder(folder)
                stack.enter_context(_only_one(folder))
                for part in ("logs", "forks"):
                    durable.private_folder(folder / part)
                    durable.remove_abandoned(folder / part)
                signer = _signer(folder / _KEY, name)
            except OSError as error:
                where = f" ({error.filename})" if error.filename else ""
                reason = f"the state of the witness cannot be used: {error.strerror or error}{where}"
                raise OurError(reason, hint="check its permissions and the free space") from error
            yield cls(folder, signer)

    def last(self, origin: str) -> Checkpoint | None:
        """What was cosigned last of a log; None: nothing ever. Raises OurError if it cannot be read."""
        path = self._path(origin)
        try:
            note = open_note(path.read_bytes(), [self.signer.verifier])
            checkpoint = Checkpoint.parse(note.text)
            if self.signer.verifier in note.verified and checkpoint.origin == origin:
                return checkpoint
        except FileNotFoundError:
            return None
        except ContactSyncError:
            pass
        raise OurError(
            f"{path}, which says what was cosigned of a log, is damaged",
            hint="begin with another --state and another --name: this key could cosign two trees",
        )

    def keep(self, origin: str, note: bytes) -> None:
        """Remember a note, with our own line, as the last one of a log. Raises OSError."""
        durable.write(self._path(origin), note)

    def keep_fork(self, checkpoint: Checkpoint, note: bytes) -> Path | None:
        """Keep a note that contradicts the last one, as evidence; None: there are enough. Raises OSError."""
        forks = self._folder / "forks"
        path = forks / f"{_hash(checkpoint.origin)}-{checkpoint.size}-{checkpoint.root.hex()[:16]}"
        if not path.exists():
            if sum(1 for _ in forks.iterdir()) >= FORKS_KEPT:
                return None
            durable.write(path, note)
        return path

    def _path(self, origin: str) -> Path:
        return self._folder / "logs" / f"{_hash(origin)}.checkpoint"


def _hash(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CallerError(
                f"another witness uses {folder}", hint="two of one key could cosign two trees: stop that one"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _signer(path: Path, name: str | None) -> NoteSigner:
    if not path.exists():
        if name is None:
            raise BadInput(
                "the witness has no key yet, and no name",
                hint="give --name: a domain or an address without https://, such as witness.example.org/w1",
            )
        if any(path.parent.joinpath("logs").iterdir()):
            raise OurError(f"{path} is gone", hint="restore it, or begin with another --state and --name")
        key = Ed25519PrivateKey.generate()
        made = NoteSigner.of(name, COSIGNATURE, key)
        seed = base64.b64encode(bytes([COSIGNATURE]) + key.private_bytes_raw()).decode("ascii")
        durable.write(path, f"{_PRIVATE}+{name}+{made.verifier.key_id.hex()}+{seed}\n".encode())
        return made
    if path.stat().st_mode & 0o077:
        raise BadInput(f"others can read {path}", hint=f"chmod 600 {path}")
    signer = _read_key(path)
    if name not in {None, signer.verifier.name}:
        raise BadInput(
            f"this witness is {signer.verifier.name}, not {name}",
            hint="leave --name out, or use another --state",
        )
    return signer


def _read_key(path: Path) -> NoteSigner:
    try:
        private, key, name, key_id, seed = path.read_text("utf-8").removesuffix("\n").split("+", 4)
        octets = base64.b64decode(seed, validate=True)
        if f"{private}+{key}" == _PRIVATE and len(octets) == 1 + _SEED_BYTES and octets[0] == COSIGNATURE:
            signer = NoteSigner.of(name, COSIGNATURE, Ed25519PrivateKey.from_private_bytes(octets[1:]))
            if signer.verifier.key_id.hex() == key_id:
                return signer
    except (ValueError, BadInput):
        pass
    raise OurError(f"{path} is damaged", hint="restore it; a new key needs another --state and --name")
