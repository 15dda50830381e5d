"""The data folder of a server: where things are, its settings, and the lock for changing what is served."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError

EDITIONS_SERVED: Final = 3
"""Data files of so many editions, the current one included, are kept and served."""

_LAYOUT: Final = 1
_TEMPLATE: Final = f"""\
# Settings of this contactsync server. See docs/operations.md.
layout = {_LAYOUT}

# Bits of a token kept beyond its slot: 32 gives about 1 false match in 4 billion lookups, 40 in a trillion.
# A change takes effect for each partition at its next publish.
remainder_bits = 32

# Threads that evaluate batches; 0 is one for each processor.
evaluator_threads = 0

# Batches that may wait for a thread; further ones are answered with 503.
evaluator_queue = 64
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What server.toml says."""

    layout: int = _LAYOUT
    remainder_bits: int = 32
    evaluator_threads: int = 0
    evaluator_queue: int = 64

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BadInput for anything that is not a known setting with a value in its range."""
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{path} is not TOML: {error}", hint="correct the file") from error
        limits = {
            "layout": range(_LAYOUT, _LAYOUT + 1),
            "remainder_bits": (32, 40),
            "evaluator_threads": range(1025),
            "evaluator_queue": range(1, 65537),
        }
        for name, value in values.items():
            if name not in limits:
                known = ", ".join(field.name for field in fields(cls))
                raise BadInput(f"{path} has an unknown setting, {name!r}", hint=f"known are {known}")
            if type(value) is not int or value not in limits[name]:
                raise BadInput(
                    f"{path}: {name} has a value that cannot be used", hint="see docs/operations.md"
                )
        return cls(**values)


class Busy(OurError):
    """Another process is changing what is published."""


class DataFolder:
    """The places in a data folder. Nothing is touched until it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "server.toml"
        self.registry = path / "registry.sqlite"
        self.accounts = path / "accounts.sqlite"
        self.keys = path / "keys"
        self.public = path / "public"
        self.data = path / "public" / "data"
        self._lock = path / "publish.lock"

    @classmethod
    def existing(cls, path: Path) -> Self:
        """Raises BadInput unless `server init` was run there."""
        folder = cls(path)
        try:
            there = folder.settings_file.is_file()
        except PermissionError:
            raise BadInput(f"{path} may not be read", hint="run as the user who owns it") from None
        if not there:
            raise BadInput(
                f"{path} is not the data folder of a server",
                hint=f"run `contactsync server init --data {path}`",
            )
        return folder

    def create(self) -> None:
        """Make the folder, 0700; `finish` writes its settings, last. Raises BadInput if it is in use."""
        if self.settings_file.exists():
            raise BadInput(f"{self.path} has been initialised already", hint="nothing was changed")
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise BadInput(
                f"{self.path} is not an empty folder",
                hint="name a new one, or remove what an init that was cut short left there",
            )
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self.data.mkdir(parents=True)
        except PermissionError as error:
            raise BadInput(
                f"{self.path} cannot be created: {error.strerror}", hint="check permissions"
            ) from error

    def discard(self) -> None:
        """Empty the folder again, as far as that goes: an init failed after `create`."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the settings file: from now on the folder counts as initialised."""
        durable.write(self.settings_file, _TEMPLATE.encode())

    def settings(self) -> Settings:
        """The settings."""
        return Settings.read(self.settings_file)

    @contextlib.contextmanager
    def lock(self, *, wait: float = 0) -> Iterator[None]:
        """Hold the right to change what is published. Raises Busy if another process keeps it.

        `wait` is for how many seconds it may. The kernel releases it when a process dies, however it dies.
        """
        end = time.monotonic() + wait
        descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if time.monotonic() >= end:
                    raise Busy(
                        "another process is publishing from this data folder", hint="wait until it is done"
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)
