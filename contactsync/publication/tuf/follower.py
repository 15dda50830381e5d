"""The client's side of the TUF repository: from a pinned root to a verified manifest.

python-tuf's `ngclient` does the TUF client workflow (specification §5.3): signatures, thresholds, expiry,
rollback of any role, mix-and-match, root rotation. This module bounds it, puts the manifests' own history on
top of it, and turns what it raises into the one error tree.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from contactsync.foundation import durable
from contactsync.foundation.errors import BadReply, BadSignature, ContactSyncError, NetworkError, OurError
from contactsync.publication.manifest import MAX_BYTES, Manifest

METADATA_PATH = "/v1/tuf/metadata/"
TARGETS_PATH = "/v1/tuf/targets/"
MAX_ROOT_BYTES = 64 << 10
MAX_RENEWALS = 64
"""Roots that are followed one after the other; at one a year nobody reaches that."""

_LIMITS = UpdaterConfig(
    max_root_rotations=MAX_RENEWALS,
    max_delegations=0,  # the manifests are listed by the top-level targets role alone
    root_max_length=MAX_ROOT_BYTES,
    timestamp_max_length=16 << 10,
    snapshot_max_length=64 << 10,
    targets_max_length=64 << 10,
)
_CHANGED = "stop here; ask the operator, over another channel, what happened to the server"


def root_fingerprint(root: bytes) -> str:
    """The SHA-256 of a root metadata file, 64 hex digits: `trust` and `server status` show it."""
    return hashlib.sha256(root).hexdigest()


def check_root(root: bytes) -> None:
    """That `root` is TUF root metadata, signed by its own threshold of keys. Raises BadSignature."""
    try:
        metadata = Metadata[Root].from_bytes(root)
        if metadata.signed.type == Root.type:
            metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
            return
    except exceptions.RepositoryError:
        pass
    raise BadSignature(
        "what the server gave as its root metadata is not that, or is not signed by its own keys",
        hint="check the address; it may not be a contactsync server",
    )


class Follower:
    """Follows one server's repository. `folder` (created, 0700) keeps its metadata and last manifests.

    `fetcher` does the downloads; what it raises must be a tuf DownloadError or a ContactSyncError (the latter
    passes through). One process at a time may use a folder.
    """

    def __init__(self, folder: Path, base_url: str, fetcher: FetcherInterface, root: bytes) -> None:
        self._folder = folder
        self._base_url = base_url.rstrip("/")
        self._fetcher = fetcher
        self._root = root
        self._updater: Updater | None = None

    def manifest(self, audience: str) -> Manifest:
        """The current manifest of an audience; the metadata is refreshed once per Follower.

        Raises BadSignature (forged, expired, rolled back, not the bytes that were signed, or not the history
        seen before), BadReply (signed, but not a manifest), NetworkError, OurError (the folder).
        """
        with _errors_of_tuf():
            data = self._download(f"{audience}.json")
        manifest = Manifest.from_bytes(data)
        if manifest.audience != audience:
            raise BadSignature(f"the signed manifest of {audience} is for another audience", hint=_CHANGED)
        seen = self._folder / "manifests" / f"{audience}.json"
        _check_history(manifest, data, _last_seen(seen))
        with _errors_of_tuf():
            durable.write(seen, data)
        return manifest

    def _download(self, target: str) -> bytes:
        if self._updater is None:
            metadata = self._folder / "metadata"
            for folder in (self._folder, metadata, metadata / "root_history", self._folder / "manifests"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            updater = Updater(
                str(metadata),
                self._base_url + METADATA_PATH,
                fetcher=self._fetcher,
                config=_LIMITS,
                bootstrap=self._root,
            )
            updater.refresh()
            self._updater = updater
        info = self._updater.get_targetinfo(target)
        if info is None:
            raise NetworkError(
                f"the server has published nothing for the audience {target.removesuffix('.json')} yet",
                hint="try again later, or ask the operator",
            )
        if info.length > MAX_BYTES or set(info.hashes) != {"sha256"}:
            raise BadReply("the signed metadata names a manifest that is out of bounds", hint=_CHANGED)
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            path = Path(scratch, "manifest")
            try:
                self._updater.download_target(info, str(path), self._base_url + TARGETS_PATH)
            except exceptions.DownloadHTTPError as error:
                if error.status_code != 404:
                    raise
                # Metadata of the version that this client has, but of other content, is not even looked at.
                raise BadSignature(
                    "the server does not have the manifest that its signed metadata named: it has gone back"
                    " to an older state, or shows this client another history",
                    hint=_CHANGED,
                ) from error
            return path.read_bytes()


def _check_history(manifest: Manifest, data: bytes, last: bytes | None) -> None:
    """Nothing but the next states of the one history may follow what was seen before.

    TUF numbers its files; this compares what they say. It keeps the signer, too, from showing this client
    another history than before (equivocation), as far as the client has seen the link.
    """
    if last is None or last == data:
        return
    old = Manifest.from_bytes(last)
    before, now = (old.epoch, old.edition), (manifest.epoch, manifest.edition)
    if now < before:
        raise BadSignature(
            f"the server went back from epoch {before[0]} edition {before[1]} "
            f"to epoch {now[0]} edition {now[1]}",
            hint=_CHANGED,
        )
    if now == before:
        raise BadSignature(f"epoch {now[0]} edition {now[1]} was published twice, differently", hint=_CHANGED)
    if manifest.epoch == old.epoch and manifest.public_key != old.public_key:
        raise BadSignature(f"the key of epoch {now[0]} changed within the epoch", hint=_CHANGED)
    follows = now == (old.epoch, old.edition + 1)
    if (follows and manifest.previous != hashlib.sha256(last).hexdigest()) or manifest.previous is None:
        raise BadSignature(
            f"epoch {now[0]} edition {now[1]} does not continue the history that this client has seen",
            hint=_CHANGED,
        )


def _last_seen(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
        Manifest.from_bytes(data)
    except FileNotFoundError:
        return None
    except (OSError, BadReply) as error:
        raise OurError(
            "the last manifest kept in the state folder is damaged",
            hint="run `contactsync forget`, then `contactsync trust` and check the fingerprint",
        ) from error
    return data


@contextlib.contextmanager
def _errors_of_tuf() -> Iterator[None]:
    """Everything that tuf raises, as an error of ours."""
    try:
        yield
    except exceptions.RepositoryError as error:
        raise _bad_signature(error) from error
    except exceptions.DownloadError as error:
        raise _download_failed(error) from error
    except OSError as error:
        hint = "check its permissions and the free space"
        where = f" ({error.filename})" if error.filename else ""
        what = f"the state folder cannot be used: {error.strerror or error}{where}"
        raise OurError(what, hint=hint) from error


def _bad_signature(error: exceptions.RepositoryError) -> BadSignature:
    match error:
        case exceptions.ExpiredMetadataError():
            return BadSignature(
                "the server's signed metadata has expired",
                hint="check this machine's clock; if it is right, the operator has to run "
                "`contactsync server publish`",
            )
        case exceptions.BadVersionNumberError():
            return BadSignature(
                "the server shows older signed metadata than it did before (rolled back)", hint=_CHANGED
            )
        case exceptions.UnsignedMetadataError():
            return BadSignature(
                "the server's metadata is not signed by the keys that the pinned root names",
                hint="if the operator has replaced all keys, compare the new fingerprint with them, "
                "then run `contactsync forget` and `contactsync trust`",
            )
        case exceptions.LengthOrHashMismatchError():
            return BadSignature("a file of the server is not the one that was signed", hint=_CHANGED)
        case _:
            return BadSignature("the server's metadata is malformed or contradicts itself", hint=_CHANGED)


def _download_failed(error: exceptions.DownloadError) -> ContactSyncError:
    match error:
        case exceptions.DownloadLengthMismatchError():
            return BadSignature("a file of the server is longer than what was signed", hint=_CHANGED)
        case exceptions.DownloadHTTPError() if error.status_code in {404, 503}:
            return NetworkError(
                "the server has published nothing yet, or is not a contactsync server",
                hint="check the address; an operator publishes with `contactsync server publish`",
            )
        case exceptions.DownloadHTTPError():
            return NetworkError(
                f"the server answered its metadata with status {error.status_code}", hint="try again later"
            )
        case _ if isinstance(error.__cause__, ContactSyncError):
            return error.__cause__
        case _:
            return NetworkError(
                "the server's metadata could not be fetched",
                hint="check the address and the network, and try again",
            )
