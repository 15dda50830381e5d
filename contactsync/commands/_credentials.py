"""Where the credential of an account is: in a file, in what a command prints, in the user's keyring.

It is read when it is needed, and is in no error and no argument list.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from contactsync.commands._options import CREDENTIAL_LIMIT, read_credential
from contactsync.foundation.errors import BadInput

KEYRING: Final = "contactsync"
"""The name of this program in a keyring: `keyring set contactsync NAME`."""

_COMMAND_SECONDS: Final = 120.0
"""How long a command may take: somebody may have to type a passphrase."""


@dataclass(frozen=True, slots=True)
class CredentialFile:
    """The credential is all that is in a file."""

    path: Path

    def read(self) -> str:
        """The credential. Raises BadInput. Says so if others can read the file."""
        credential = read_credential(self.path)
        if self.path.is_file() and self.path.stat().st_mode & 0o077:
            click.echo(f"warning: other users can read {self.path}; run chmod 600 on it", err=True)
        return credential

    def __str__(self) -> str:
        return f"file {self.path}"


@dataclass(frozen=True, slots=True)
class CredentialCommand:
    """The credential is all that a command prints. It may ask at the terminal."""

    words: tuple[str, ...]

    def read(self) -> str:
        """The credential. Raises BadInput."""
        name = self.words[0]
        try:
            done = subprocess.run(  # noqa: S603 - what the user has configured
                self.words, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False
            )
        except OSError as error:
            hint = "check credential_command in the configuration"
            raise BadInput(f"cannot run {name} for the credential: {error.strerror}", hint=hint) from error
        except subprocess.TimeoutExpired as error:
            text = f"{name}, which is to print the credential, does not end"
            raise BadInput(text, hint="run it in a terminal to see what it waits for") from error
        if done.returncode != 0:
            text = f"{name}, which is to print the credential, failed with exit code {done.returncode}"
            raise BadInput(text, hint="run it in a terminal to see why")
        text = done.stdout[: CREDENTIAL_LIMIT + 1].decode("ascii", "replace").strip()
        return _checked(text, f"what {name} printed")

    def __str__(self) -> str:
        return f"command {self.words[0]}"


@dataclass(frozen=True, slots=True)
class CredentialOfKeyring:
    """The credential is in the user's keyring, under a name."""

    name: str

    def read(self) -> str:
        """The credential. Raises BadInput."""
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError as error:
            raise BadInput(
                "the keyring cannot be asked: the package keyring is not installed",
                hint="run `pip install 'contactsync[keyring]'`, or use credential_file",
            ) from error
        try:
            found = keyring.get_password(KEYRING, self.name)
        except KeyringError as error:
            raise BadInput(
                f"the keyring does not answer ({type(error).__name__})",
                hint="unlock it, or use credential_file or credential_command",
            ) from error
        if found is None:
            hint = f"store it: keyring set {KEYRING} {self.name}"
            raise BadInput(f"the keyring has no credential named {self.name}", hint=hint)
        return _checked(found.strip(), "what the keyring has")

    def __str__(self) -> str:
        return f"keyring {self.name}"


CredentialPlace = CredentialFile | CredentialCommand | CredentialOfKeyring


def _checked(text: str, what: str) -> str:
    if not re.fullmatch(r"[!-~]{1,4096}", text):
        hint = "it must be what `contactsync server accounts add` printed, and nothing else"
        raise BadInput(f"{what} is not exactly one credential", hint=hint)
    return text
