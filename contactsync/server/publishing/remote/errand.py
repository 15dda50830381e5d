r"""What travels between publisher and worker: a sealed job there, a sealed result or a plain refusal back.

```
contactsync-job-1 VERSION\n     salt (32) ‖ sealed job       bound to this line
contactsync-result-1\n          salt (32) ‖ sealed result    bound to this line and the SHA-256 of the job
contactsync-refusal-1\n         {"reason", "host", "address"} of a worker that cannot read the job
```

Inside the seal is a pickle: who has the key may run code on the others anyway, as Dask is made for that. The
result is bound to its job, so nobody on the way can answer one job with the result of another.
"""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import contactsync
from contactsync.foundation.errors import ContactSyncError
from contactsync.server.publishing.remote.worker_key import NotSealedByUs, WorkerKey

Reason = Literal["no-key", "other-key", "other-version"]

_JOB: Final = b"contactsync-job-1 "
_RESULT: Final = b"contactsync-result-1\n"
_REFUSAL: Final = b"contactsync-refusal-1\n"
_NOT_RUN: Final = {"web", "docs", "vectors", "deploy"}
"""Folders of the package without a module that a job could run; some are long."""


@dataclass(frozen=True, slots=True)
class CannotRead:
    """A worker that could not read a job: why, on which machine, and where the cluster reaches it."""

    reason: Reason
    host: str
    address: str = ""

    def to_octets(self) -> bytes:
        """As it travels, not sealed: the worker may have no key."""
        return _REFUSAL + json.dumps(asdict(self)).encode()


@functools.cache
def version() -> str:
    """The version of this package, with 16 hex digits of the SHA-256 of its modules.

    Two checkouts of a version that is being worked on may differ, and the files they build with them.
    """
    package = Path(contactsync.__file__).parent
    digest = hashlib.sha256()
    for top in sorted(package.iterdir()):
        if top.name in _NOT_RUN:
            continue
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            if path.suffix == ".py":
                digest.update(f"{path.relative_to(package)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{contactsync.__version__}+{digest.hexdigest()[:16]}"


def seal_job(key: WorkerKey, job: object) -> bytes:
    """A job, as it travels."""
    line = _JOB + version().encode() + b"\n"
    return line + key.seal(line, pickle.dumps(job))


def open_job(key: WorkerKey, octets: bytes) -> object:
    """The job in these octets, whose version is ours. Raises NotSealedByUs."""
    line, _, sealed = octets.partition(b"\n")
    return pickle.loads(key.open(line + b"\n", sealed))  # noqa: S301 - sealed by who has the key


def is_ours(octets: bytes) -> bool:
    """Whether a job was sealed by this version."""
    return octets.startswith(_JOB + version().encode() + b"\n")


def seal_result(key: WorkerKey, job: bytes, result: object) -> bytes:
    """What came of a job, an error of the tree included, as it travels."""
    return _RESULT + key.seal(_bound(job), pickle.dumps(result))


def open_result(key: WorkerKey, job: bytes, octets: bytes) -> Any:
    """The result of a job, or the CannotRead of a worker. Raises NotSealedByUs, and what the job raised."""
    if octets.startswith(_REFUSAL):
        try:
            said = json.loads(octets.removeprefix(_REFUSAL))
            return CannotRead(said["reason"], str(said["host"])[:100], str(said["address"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NotSealedByUs from None
    if not octets.startswith(_RESULT):
        raise NotSealedByUs
    result = pickle.loads(key.open(_bound(job), octets.removeprefix(_RESULT)))  # noqa: S301 - as above
    if isinstance(result, ContactSyncError):
        raise result
    return result


def _bound(job: bytes) -> bytes:
    return _RESULT + hashlib.sha256(job).digest()
