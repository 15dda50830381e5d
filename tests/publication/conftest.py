"""A real repository on disk and a fetcher that reads it as the server's routes would serve it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from forger import Forger
from manifest_twin import base_lengths
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from contactsync.publication.manifest import DataFile, DeltaFile, Manifest, Partition
from contactsync.publication.tuf.follower import Follower
from contactsync.publication.tuf.repository import ROLES

BASE = "http://server.test"
BASE_LENGTH = base_lengths(1000, 12, 32)[0]  # one bucket


class FolderFetcher(FetcherInterface):
    """GET from a folder. `tamper(path, data)` may change an answer; `asked` lists what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.tamper: Callable[[str, bytes], bytes] = lambda _, data: data

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(f"{BASE}/v1/tuf/")
        self.asked.append(path)
        try:
            data = (self.folder / path).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError("not found", 404) from None
        yield self.tamper(path, data)


class Operator:
    """A repository with its keys, and clients for it."""

    def __init__(self, folder: Path) -> None:
        self.public = folder / "public"
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.repository = Forger(self.public)
        self.fetcher = FolderFetcher(self.public)
        self.create()

    def create(self) -> None:
        keys = {role: signer.public_key for role, signer in self.signers.items()}
        self.repository.create(keys, self.signers["root"], datetime.now(UTC))
        self.root = self.repository.root_bytes()

    def publish(self, *manifests: Manifest, now: datetime | None = None) -> None:
        self.repository.publish(manifests, self.signers, now or datetime.now(UTC))

    def follow(self, state: Path) -> Manifest:
        return Follower(state, BASE, self.fetcher, self.root).manifest("people")


def a_file(name: str, length: int = BASE_LENGTH) -> DataFile:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return DataFile(digest, length, digest[:16])


def a_manifest(edition: int = 1, epoch: int = 1, previous: Manifest | None = None) -> Manifest:
    partition = Partition("49", 1, 1000, 12, 32, "ab" * 32, a_file("base"))
    chain = tuple(DeltaFile(e, e + 1, a_file(f"delta {e}", 400)) for e in range(1, edition))
    changed = replace(partition, name="1", edition=edition, deltas=chain[-32:])
    return Manifest(
        audience="people",
        epoch=epoch,
        edition=edition,
        public_key=bytes([epoch]) * 32,
        normalisation=1,
        partitions={"49": partition, "1": changed},
        previous=None if previous is None else previous.sha256(),
    )


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "server")


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    return a_manifest
