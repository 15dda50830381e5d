"""Where an auditor gets a publication from: a folder with its public files, or a server."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from contactsync.client.download import fetch_file
from contactsync.client.transport import MetadataFetcher, Transport
from contactsync.foundation.errors import BadInput, NetworkError, Refused
from contactsync.publication.logged import LOG_PATH
from contactsync.publication.manifest import DataFile
from contactsync.publication.tuf.follower import METADATA_PATH, TARGETS_PATH

_FOLDERS = {METADATA_PATH: "metadata", TARGETS_PATH: "targets", LOG_PATH: "log"}
_NOWHERE = "file://publication"


class PublicationSource(Protocol):
    """The public files of a server. `base_url` is what TUF metadata is asked for under."""

    name: str
    base_url: str
    fetcher: FetcherInterface

    def data(self, file: DataFile, folder: Path) -> Path | None:
        """Bring a data file into a folder, under its SHA-256; None if it is not there. Nothing is verified.

        Raises NetworkError, BadReply and BadDirectory (what came is not what was asked for).
        """

    def others(self) -> Iterator[str]:
        """The names of all data files, as far as the source can list them."""


class FolderSource:
    """A folder `public/`, or a copy of it: metadata/, targets/, data/, log/."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if it is none."""
        if not (folder / "metadata").is_dir():
            if not (folder / "public" / "metadata").is_dir():
                raise BadInput(
                    f"{folder} contains no publication",
                    hint="give the folder with metadata/, targets/, data/",
                )
            folder = folder / "public"
        self.name = str(folder)
        self.base_url = _NOWHERE
        self._folder = folder
        self.fetcher: FetcherInterface = _FolderFetcher(folder)

    def data(self, file: DataFile, folder: Path) -> Path | None:
        """See `PublicationSource.data`."""
        try:
            shutil.copyfile(self._folder / "data" / file.sha256, folder / file.sha256)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NetworkError(f"{error.filename}: {error.strerror}", hint="check its permissions") from error
        return folder / file.sha256

    def others(self) -> Iterator[str]:
        """See `PublicationSource.others`."""
        for path in sorted((self._folder / "data").glob("*")):
            if not path.name.startswith("."):
                yield path.name


class _FolderFetcher(FetcherInterface):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(_NOWHERE)
        for prefix, name in _FOLDERS.items():
            if path.startswith(prefix) and ".." not in (rest := path.removeprefix(prefix)):
                with contextlib.suppress(OSError):
                    return iter([(self._folder / name / rest).read_bytes()])
        raise DownloadHTTPError(f"{path} is not there", 404)


class ServerSource:
    """A server, by its client's transport."""

    def __init__(self, transport: Transport) -> None:
        self.name = self.base_url = transport.base_url
        self._transport = transport
        self.fetcher: FetcherInterface = MetadataFetcher(transport)

    def data(self, file: DataFile, folder: Path) -> Path | None:
        """See `PublicationSource.data`."""
        try:
            return fetch_file(self._transport, folder, file)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def others(self) -> Iterator[str]:
        """See `PublicationSource.others`: a server lists nothing."""
        return iter(())
