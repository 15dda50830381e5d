"""The data files in a client's state folder, opened for the core."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from contactsync.directory import DataFile, Directory, DirectoryInfo, open_directory
from contactsync.directory.delta import Delta, read_delta
from contactsync.directory.screen import Screen, open_screen
from contactsync.directory.sidecar import Sidecar, SidecarInfo, open_sidecar
from contactsync.directory.sidecar_delta import SidecarDelta, read_sidecar_delta
from contactsync.foundation.errors import BadInput


class FolderFiles:
    """`core.holdings.Files`: each file is named by its SHA-256.

    They were verified against the manifest when they were stored. From then on only damage is checked for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def directory(self, info: DirectoryInfo) -> AbstractContextManager[Directory]:
        """A base, checked by its xxh3."""
        return open_directory(self._folder / info.file.sha256, expect=info, check="xxh3")

    def screen(self, file: DataFile, base: DirectoryInfo) -> Screen:
        """The screen of a base."""
        return open_screen(self._folder / file.sha256, base, expect=file)

    def delta(self, file: DataFile) -> Delta:
        """A delta."""
        return read_delta(self._folder / file.sha256, expect=file)

    def sidecar(self, info: SidecarInfo) -> AbstractContextManager[Sidecar]:
        """A sidecar, checked by its xxh3."""
        return open_sidecar(self._folder / info.file.sha256, expect=info, check="xxh3")

    def sidecar_delta(self, file: DataFile) -> SidecarDelta:
        """A delta of labels."""
        return read_sidecar_delta(self._folder / file.sha256, expect=file)

    def level(self, file: DataFile) -> bytes:
        """The level of an edition's rows; `lookup.table.check_level` tells whether it is whole."""
        try:
            return (self._folder / file.sha256).read_bytes()
        except OSError as error:
            raise BadInput(
                f"the level of the rows cannot be read: {error.strerror}", hint="sync again: it is fetched"
            ) from error
