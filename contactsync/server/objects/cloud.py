"""Stores of S3, Google Cloud and Azure, by obstore (the Rust crate object_store).

Credentials come from the environment as the provider's own tools read it: AWS_ACCESS_KEY_ID and its kin, the
file AWS_SHARED_CREDENTIALS_FILE, a role of the machine; GOOGLE_APPLICATION_CREDENTIALS;
AZURE_STORAGE_ACCOUNT_KEY or its kin. What obstore says of an error is never shown: it quotes replies, which
quote what was signed.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.objects.address import StoreUrl
from contactsync.server.objects.ports import Conflict, Headers, StoredObject, Tag, Unanswered

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

PART: Final = 8 << 20
"""Octets of a part. A longer file goes in parts; up to so many octets are one request."""

_PARTS_AT_ONCE: Final = 4
_TIMEOUT: Final = timedelta(seconds=60)
_RETRIES: Final = 2  # within obstore, where a part of a file fails; patient.py repeats whole calls
_STATUS: Final = re.compile(r"status code: (\d{3})")
_PASSING: Final = {408, 409, 425, 429}
_SETUP: Final = (
    "check the credentials in the environment, and their rights; see `contactsync docs operations`,"
    " Object storage"
)


class CloudObjects:
    """`Objects` of a provider."""

    def __init__(self, url: StoreUrl) -> None:
        """Raises BadInput if obstore is not installed or the environment has unusable settings."""
        try:
            import obstore  # noqa: PLC0415 - an extra: who has no store does without
        except ModuleNotFoundError:
            raise BadInput(
                f"a store at {url.scheme}:// needs the package obstore",
                hint="install it: pip install 'contactsync[cloud]'",
            ) from None
        self._obstore = obstore
        self._url = url
        try:
            self._store = _opened(url)
        except (ValueError, TypeError, obstore.exceptions.BaseError):
            raise BadInput(
                f"{url} cannot be used with the settings in the environment", hint=_SETUP
            ) from None

    def entries(self, below: str) -> Iterator[StoredObject]:
        """See `Objects.entries`."""
        with self._explained(f"list {below}"):
            for found in self._obstore.list(self._store, prefix=below, chunk_size=1000):
                for one in found:
                    yield StoredObject(one["path"], one["size"])

    def read(self, name: str, limit: int) -> tuple[bytes, Tag] | None:
        """See `Objects.read`."""
        with self._explained(f"read {name}"):
            try:
                found = self._obstore.get(self._store, name)
                meta = found.meta
                octets = bytes(found.bytes()) if meta["size"] <= limit else b""
            except FileNotFoundError:
                return None
        if meta["size"] > limit:
            raise OurError(f"{name} in {self._url} is longer than {limit:,} octets")
        if len(octets) != meta["size"]:
            raise Unanswered(f"{self._url} has cut off {name}")
        return octets, Tag(meta["e_tag"] or "", meta["version"])

    def size(self, name: str) -> int | None:
        """See `Objects.size`."""
        with self._explained(f"look at {name}"):
            try:
                return self._obstore.head(self._store, name)["size"]
            except FileNotFoundError:
                return None

    def create(self, name: str, octets: bytes, headers: Headers) -> Tag:
        """See `Objects.create`."""
        return self._put(name, octets, "create", headers)

    def replace(self, name: str, octets: bytes, old: Tag, headers: Headers) -> Tag:
        """See `Objects.replace`."""
        # obstore takes no None: a store compares the one or the other.
        version = {"e_tag": old.e_tag, **({} if old.version is None else {"version": old.version})}
        return self._put(name, octets, version, headers)

    def upload(self, name: str, path: Path, headers: Headers) -> None:
        """See `Objects.upload`."""
        with self._explained(f"put {name}"):
            self._obstore.put(
                self._store,
                name,
                path,
                attributes=_attributes(headers),
                chunk_size=PART,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def delete(self, names: Sequence[str]) -> None:
        """See `Objects.delete`."""
        with self._explained("delete"), contextlib.suppress(FileNotFoundError):
            self._obstore.delete(self._store, list(names))

    def signed_url(self, name: str, seconds: int) -> str | None:
        """See `Objects.signed_url`."""
        with self._explained("sign a URL"):
            return self._obstore.sign(self._store, "GET", name, timedelta(seconds=seconds))

    def _put(self, name: str, octets: bytes, mode: Any, headers: Headers) -> Tag:
        with self._explained(f"put {name}"):
            done = self._obstore.put(
                self._store, name, octets, attributes=_attributes(headers), mode=mode, use_multipart=False
            )
        return Tag(done["e_tag"] or "", done.get("version"))

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn errors of obstore into ours, without their text."""
        errors = self._obstore.exceptions
        try:
            yield
        except (errors.AlreadyExistsError, errors.PreconditionError):
            raise Conflict(f"{self._url}: {what}: another version is there") from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError):
            raise OurError(f"{self._url} refuses to {what}: no rights", hint=_SETUP) from None
        except FileNotFoundError:
            raise OurError(
                f"{self._url} does not exist", hint="create the bucket, or correct `store`"
            ) from None
        except errors.NotSupportedError:
            raise OurError(
                f"{self._url} cannot {what}", hint="the store has to support conditional puts"
            ) from None
        except errors.BaseError as error:
            found = _STATUS.search(str(error))
            status = int(found[1]) if found else 0
            if not status or status >= 500 or status in _PASSING:
                why = f"status {status}" if status else "no answer, or one that was cut off"
                raise Unanswered(
                    f"{self._url}: cannot {what} ({why})", hint="try again later, or check AWS_ENDPOINT_URL"
                ) from None
            raise OurError(f"{self._url} refuses to {what} (status {status})", hint=_SETUP) from None


def _attributes(headers: Headers) -> Any:
    return {"Content-Type": headers.kind, "Cache-Control": headers.caching}


def _opened(url: StoreUrl) -> S3Store | GCSStore | AzureStore:
    from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415

    retries: Any = {"max_retries": _RETRIES, "retry_timeout": _TIMEOUT}
    options: Any = {"timeout": _TIMEOUT, "connect_timeout": timedelta(seconds=10)}
    prefix: Any = url.prefix or None
    if url.scheme == "gs":
        return GCSStore(url.bucket, prefix=prefix, client_options=options, retry_config=retries)
    if url.scheme == "az":
        return AzureStore(
            url.bucket,
            prefix=prefix,
            account_name=url.account,
            client_options=options,
            retry_config=retries,
        )
    config: Any = {**_shared_credentials(), "checksum_algorithm": "SHA256"}
    if "AWS_ENDPOINT_URL" in os.environ:
        # Plain HTTP is for this machine: elsewhere anybody on the way could read and change what is put.
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        config["endpoint"] = endpoint
        if is_loopback(endpoint):
            options["allow_http"] = True
    return S3Store(url.bucket, prefix=prefix, client_options=options, retry_config=retries, **config)


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine."""
    return re.match(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|$)", url) is not None


def _shared_credentials() -> dict[str, str]:
    """What AWS_SHARED_CREDENTIALS_FILE has for AWS_PROFILE, which obstore itself does not read."""
    place = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    if not place or "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    file, profile = configparser.ConfigParser(), os.environ.get("AWS_PROFILE", "default")
    try:
        file.read_string(Path(place).read_text("utf-8"))
        found = file[profile]
        names = ("access_key_id", "secret_access_key", "session_token")
        return {name: found[f"aws_{name}"] for name in names if f"aws_{name}" in found}
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        raise BadInput(
            f"{place} has no credentials for the profile {profile}",
            hint="correct AWS_SHARED_CREDENTIALS_FILE or AWS_PROFILE",
        ) from None
