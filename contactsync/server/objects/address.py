"""Where a store is: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER.

A URL never holds a credential. Those come from the environment, or from files that it names (cloud.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from contactsync.foundation.errors import BadInput

SCHEMES: Final = ("s3", "gs", "az", "file")
_HINT: Final = (
    "give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER"
    " (`contactsync docs operations`, Object storage)"
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._=-]+")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """`bucket` is the container for az, which also has an `account`; `prefix` has no `/` at its ends.

    For file, `folder` is the place, and the others are empty.
    """

    scheme: str
    bucket: str = ""
    prefix: str = ""
    account: str = ""
    folder: Path = Path()

    def __str__(self) -> str:
        if self.scheme == "file":
            return self.folder.as_uri()
        return f"{self.scheme}://" + "/".join(filter(None, [self.account, self.bucket, self.prefix]))

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """Take a URL apart. Raises BadInput, without quoting it: it may contain a secret."""
        try:
            parts = urlsplit(text)
        except ValueError:
            raise BadInput("the URL of the store cannot be read", hint=_HINT) from None
        if parts.scheme not in SCHEMES or not text.startswith(f"{parts.scheme}://"):
            raise BadInput("the URL of the store has an unknown scheme", hint=_HINT)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise BadInput(
                "the URL of the store must not contain a user, a password, a key or a query",
                hint="credentials come from the environment; see `contactsync docs operations`",
            )
        if parts.scheme == "file":
            folder = Path(unquote(parts.path))
            if parts.netloc or not folder.is_absolute() or folder == Path("/") or ".." in folder.parts:
                raise BadInput("a store in a folder needs its whole path", hint="give file:///var/www/store")
            return cls("file", folder=folder)
        path = [part for part in parts.path.split("/") if part]
        account, bucket = "", parts.netloc
        if parts.scheme == "az":
            account, bucket, path = bucket, path[0] if path else "", path[1:]
        named = [account, bucket] if parts.scheme == "az" else [bucket]
        if not all(map(_NAME.fullmatch, named)):
            raise BadInput("the URL of the store names no bucket", hint=_HINT)
        if not all(_PREFIX.fullmatch(part) and part not in {".", ".."} for part in path):
            raise BadInput("the prefix of the store may contain letters, digits and ._=-", hint=_HINT)
        return cls(parts.scheme, bucket, "/".join(path), account)


def check_can_sign(store: str) -> None:
    """Raise BadInput unless clients can be sent to this store ("": there is none) by URLs that end."""
    if not store or StoreUrl.parse(store).scheme == "file":
        raise BadInput(
            "--redirect-data needs a store whose URLs can be signed",
            hint="name one: `server publish --store s3://BUCKET/PREFIX`, gs:// or az://",
        )
