"""Where the password of a CardDAV account comes from: a file, a command, the keyring, or a prompt.

It is never an argument of a command, nor a variable of the environment; no error quotes it.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contactsync.foundation.errors import BadInput

KEYRING_SERVICE: Final = "contactsync"
_LIMIT: Final = 16 << 10  # octets; some tokens are long
_SECONDS: Final = 120.0  # a command may have to ask somebody


def from_file(path: Path) -> str:
    """The first line of a file that only its owner can read. Raises BadInput."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise BadInput(
                    f"other users can read the password file {path}",
                    hint=f"run: chmod 600 {path}; then try again",
                )
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise BadInput(
            f"cannot read the password file {path}: {error.strerror}", hint="check its name and permissions"
        ) from error
    return _first_line(data, f"the password file {path}")


def from_command(command: str, *, seconds: float = _SECONDS) -> str:
    """The first line that a command prints, such as `pass show dav`. No shell is used. Raises BadInput."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInput("--password-command has a quotation mark that is not closed") from error
    if not words:
        raise BadInput("--password-command is empty", hint="give a command that prints the password")
    shown = words[0]  # the others may hold what nobody should see
    try:
        # It may ask somebody at the terminal, but must not read an address book that comes by stdin.
        stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
        done = subprocess.run(words, stdin=stdin, stdout=subprocess.PIPE, timeout=seconds, check=False)  # noqa: S603
    except OSError as error:
        raise BadInput(f"cannot run the password command {shown}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise BadInput(f"the password command {shown} did not end within {seconds:.0f} s") from None
    if done.returncode:
        raise BadInput(
            f"the password command {shown} failed: exit code {done.returncode}",
            hint="run it by hand; it must print the password",
        )
    return _first_line(done.stdout, f"what the password command {shown} printed")


def from_keyring(account: str) -> str | None:
    """The password that the keyring holds for an account; None without a keyring, or if it has none."""
    try:
        import keyring  # noqa: PLC0415 - optional, and slow to load
        import keyring.errors  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return keyring.get_password(KEYRING_SERVICE, account)
    except keyring.errors.KeyringError:
        return None


def password_of(
    account: str,
    *,
    file: Path | None = None,
    command: str | None = None,
    ask: Callable[[str], str] | None = None,
) -> str:
    """The password of an account: from the file or command if one is given, else the keyring, else `ask`.

    Raises BadInput if there is none.
    """
    if file is not None:
        return from_file(file)
    if command is not None:
        return from_command(command)
    found = from_keyring(account)
    if found:
        return found
    if ask is None:
        raise BadInput(
            f"there is no password for {account}",
            hint="give --password-file FILE (0600) or --password-command COMMAND, or keep it in the keyring:"
            f" pip install 'contactsync[keyring]'; keyring set {KEYRING_SERVICE} {shlex.quote(account)}",
        )
    return ask(account)


def _first_line(data: bytes, what: str) -> str:
    """The password. A line end is not part of it; spaces are."""
    if len(data) > _LIMIT:
        raise BadInput(f"{what} is too long for a password")
    line = data.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].removesuffix(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise BadInput(f"{what} is not UTF-8") from None
    if not text or any(character < " " or character == "\x7f" for character in text):
        raise BadInput(f"{what} does not begin with a password", hint="its first line must be the password")
    return text
