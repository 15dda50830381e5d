"""Encryption of a backup to recipients, by the program `age` (https://age-encryption.org).

A program and not a module, because whoever has to rescue a backup in ten years then needs nothing of ours,
and because recipients may be of any kind that it knows: age and SSH keys, hardware tokens by its plugins. No
secret is in its arguments: a recipient is public, and of an identity it is told the file.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from contactsync.foundation.errors import BadInput, ContactSyncError, OurError

MAGIC: Final = b"age-encryption.org/"
_PROGRAM: Final = "age"
_MISSING: Final = "install it (Debian: apt install age)"


@contextlib.contextmanager
def encrypting(file: BinaryIO, recipients: Sequence[str]) -> Iterator[BinaryIO]:
    """What is written to the yielded stream goes to `file`, encrypted to all of `recipients`.

    Each is a recipient, or a file of some. Raises BadInput: one is none; OurError: the program failed. The
    file is whole only if this ends without an error.
    """
    command = [_PROGRAM]
    for one in recipients:
        command += ["-R" if Path(one).is_file() else "-r", one]
    with _started(command, stdin=subprocess.PIPE, stdout=file) as process:
        assert process.stdin is not None
        broken = False
        try:
            yield process.stdin  # type: ignore[misc]
            process.stdin.close()
        except BrokenPipeError:
            broken = True
        except BaseException:
            process.kill()
            raise
        said = _said(process)
    if process.returncode or broken:
        raise BadInput(f"age cannot encrypt the backup: {said}", hint="check --recipient; nothing is written")


@contextlib.contextmanager
def decrypting(path: Path, identity: Path | None) -> Iterator[BinaryIO]:
    """What an encrypted file holds. Raises BadInput: no identity, or none that opens it; it is damaged."""
    if identity is None:
        raise BadInput(f"{path} is encrypted", hint="give --identity FILE, the file with its age key")
    command = [_PROGRAM, "--decrypt", "--identity", str(identity), str(path)]
    with _started(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        failure: ContactSyncError | None = None
        try:
            yield process.stdout  # type: ignore[misc]
            while process.stdout.read(1 << 20):
                pass
        except ContactSyncError as error:
            # If age has stopped in the middle, why it did is what matters.
            failure = error
            process.stdout.close()
        except BaseException:
            process.kill()
            raise
        said = _said(process)
    if process.returncode and said:
        raise BadInput(f"age cannot decrypt {path}: {said}", hint="check --identity, or use another backup")
    if failure is not None:
        raise failure


def _said(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    lines = process.stderr.read().decode("utf-8", "replace").splitlines()
    process.wait()
    return lines[0].removeprefix("age: ").removeprefix("error: ") if lines else ""


@contextlib.contextmanager
def _started(
    command: Sequence[str], *, stdin: int, stdout: int | BinaryIO
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(  # noqa: S603 - a list, without a shell
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise BadInput("the program age is not installed", hint=_MISSING) from None
    except OSError as error:
        raise OurError(f"age cannot be run: {error.strerror}", hint=_MISSING) from error
    with process:
        yield process
