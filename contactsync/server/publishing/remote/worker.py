"""What a Dask worker runs: it opens a job with its own key file, runs it, and seals what comes of it.

The worker's key file is named by the variable CONTACTSYNC_WORKER_KEY. Nothing is loaded before it is needed:
the scheduler, too, imports this module, since it reads the name of the function in each task.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VARIABLE: Final = "CONTACTSYNC_WORKER_KEY"
NONCE: Final = "nonce"
"""The file of the publisher in the folder of a MusterJob."""


@dataclass(frozen=True, slots=True)
class MusterJob:
    """Asks a worker to show that it has the same folder of data: to read there, and to write.

    In `folder` the publisher has put the file `NONCE`.
    """

    folder: str


@dataclass(frozen=True, slots=True)
class Attendance:
    """A worker's answer: `nonce` is what it read, empty if it could not, for the reason `trouble`.

    `wrote` is the name of a file with the same content that it has put beside it.
    """

    host: str
    nonce: bytes
    wrote: str
    trouble: str = ""


def run_muster(job: MusterJob) -> Attendance:
    """Read the nonce and write it again; errors of the disk are in the answer."""
    folder, name = Path(job.folder), secrets.token_hex(16)
    try:
        nonce = (folder / NONCE).read_bytes()
        (folder / name).write_bytes(nonce)
    except OSError as error:
        return Attendance(platform.node(), b"", "", error.strerror or type(error).__name__)
    return Attendance(platform.node(), nonce, name)


def run_sealed(octets: bytes) -> bytes:
    """Run a sealed job; its sealed result, or why this worker cannot read it (errand.py)."""
    from contactsync.foundation.errors import ContactSyncError, OurError  # noqa: PLC0415 - see above
    from contactsync.server.publishing.amending import AmendJob, run_amend  # noqa: PLC0415
    from contactsync.server.publishing.job import (  # noqa: PLC0415
        BuildJob,
        EvaluateJob,
        run_build,
        run_evaluate,
    )
    from contactsync.server.publishing.remote.errand import (  # noqa: PLC0415
        CannotRead,
        is_ours,
        open_job,
        seal_result,
    )
    from contactsync.server.publishing.remote.worker_key import NotSealedByUs, WorkerKey  # noqa: PLC0415

    if not is_ours(octets):
        return CannotRead("other-version", platform.node(), _address()).to_octets()
    try:
        key = WorkerKey.read(Path(os.environ[VARIABLE]))
        job = open_job(key, octets)
    except (KeyError, ContactSyncError):
        return CannotRead("no-key", platform.node(), _address()).to_octets()
    except NotSealedByUs:
        return CannotRead("other-key", platform.node(), _address()).to_octets()
    result: object
    try:
        match job:
            case EvaluateJob():
                result = run_evaluate(job)
            case BuildJob():
                result = run_build(job)
            case AmendJob():
                result = run_amend(job)
            case MusterJob():
                result = run_muster(job)
            case _:
                raise TypeError(type(job).__name__)  # noqa: TRY301 - an error like any other
    except ContactSyncError as error:
        result = error
    except Exception as error:
        # Dask would send it, with its text, to the scheduler as it is. Nobody knows what is in that text.
        logging.getLogger(__name__).exception("a job has failed")
        result = OurError(
            f"{job}: the worker on {platform.node()} has failed ({type(error).__name__})",
            hint="its log says more; the previous edition is still served",
        )
    return seal_result(key, octets, result)


def _address() -> str:
    """Where the cluster reaches the worker that runs this; "" outside of a task."""
    try:
        from distributed import get_worker  # noqa: PLC0415 - it is there where a scheduler calls this

        return str(get_worker().address)
    except (ImportError, ValueError):
        return ""
