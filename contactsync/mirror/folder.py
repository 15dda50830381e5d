"""What a mirror keeps in its folder, 0700.

```
DIR/mirror.json    which publication it mirrors, of which audience; written first
DIR/state/         the pinned root, TUF metadata, what was seen of the log: a client's state (client.state)
DIR/data/          bases by their SHA-256, and levels by theirs; sidecars, of editions whose rows have labels;
                   NAME.part: downloads to be resumed
DIR/rows/          files of rows (server.row_files)
DIR/public/        what is served to anybody: metadata/ and targets/, named as the operator has them
DIR/kept.json      the manifests of the editions whose rows are served, newest first; the one switch
DIR/work/          scratch of one round
```

A manifest is in kept.json once all that it needs is on the disk under its name. What neither these manifests
nor the round that runs names is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from contactsync.client.state import State, canonical_url
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, ContactSyncError, OurError
from contactsync.foundation.migrations import RecordStep, migrate_record, newest
from contactsync.publication.manifest import Manifest
from contactsync.publication.rows import source_files
from contactsync.server.row_files import ROWS_SERVED, remove_rows

_RECORD: Final = "mirror.json"
_STEPS: Final[Sequence[RecordStep]] = ()
_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True)
class MirrorFolder:
    """The folder of a mirror of one audience of one server. `State.lock` holds it for one process."""

    path: Path
    url: str
    audience: str

    @classmethod
    def open(cls, path: Path, url: str, audience: str) -> Self:
        """The folder, made if it is missing or empty.

        Raises BadInput (it is something else, or mirrors something else), OurError (it cannot be used).
        """
        folder = cls(path, canonical_url(url), audience)
        try:
            if not (path / _RECORD).exists():
                folder._make()
            record = migrate_record(_object(path / _RECORD), f"the mirror in {path}", _STEPS)
            found = record["url"], record["audience"]
        except (KeyError, ValueError, RecursionError) as error:
            raise OurError(
                f"{path / _RECORD} is damaged", hint="begin anew with another --data: nothing is lost"
            ) from error
        except OSError as error:
            raise OurError(
                f"{path} cannot be used: {error.strerror}", hint="check its permissions and the free space"
            ) from error
        if found != (folder.url, audience):
            raise BadInput(
                f"{path} is a mirror of {found[0]} ({found[1]})",
                hint="give that URL and --audience, or another --data",
            )
        return folder

    def _make(self) -> None:
        """Raises BadInput, OSError."""
        durable.private_folder(self.path)
        if any(not one.name.endswith(".part") for one in self.path.iterdir()):
            raise BadInput(
                f"{self.path} is not the folder of a mirror, and not empty",
                hint="give a folder of its own with --data; it is made if it is missing",
            )
        record = {"version": newest(_STEPS), "url": self.url, "audience": self.audience}
        durable.write(self.path / _RECORD, json.dumps(record, indent=1).encode())

    @property
    def state(self) -> State:
        """What a client keeps of the server: `contactsync trust --state` may change its log policy."""
        return State(self.path / "state")

    @property
    def data(self) -> Path:
        """Bases, levels and sidecars, by their SHA-256."""
        return self.path / "data"

    @property
    def public(self) -> Path:
        """A publication as `PublicFolder` reads it."""
        return self.path / "public"

    @property
    def rows(self) -> Path:
        """Files of rows."""
        return self.path / "rows"

    @property
    def work(self) -> Path:
        """Scratch."""
        return self.path / "work"

    def prepare(self) -> None:
        """Make what is missing, and clear the scratch that a killed process left. Raises OSError."""
        shutil.rmtree(self.work, ignore_errors=True)
        for folder in (self.data, self.rows, self.work, self.public / "metadata", self.public / "targets"):
            durable.private_folder(folder)
            durable.remove_abandoned(folder)

    # Manifests

    def manifest_path(self, sha256: str) -> Path:
        """Where a manifest is, under the name that the operator serves it by."""
        return self.public / "targets" / f"{sha256}.{self.audience}{_SUFFIX}"

    def manifest_bytes(self, sha256: str) -> bytes | None:
        """A manifest that was kept; None if it is not there, or damaged."""
        with contextlib.suppress(OSError):
            data = self.manifest_path(sha256).read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        return None

    def kept(self) -> list[Manifest]:
        """The editions whose rows are served, newest first, as far as they can be read."""
        found = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            for sha256 in _object(self.path / "kept.json")["manifests"][:ROWS_SERVED]:
                data = self.manifest_bytes(str(sha256))
                with contextlib.suppress(ContactSyncError):
                    if data is not None:
                        found.append(Manifest.from_bytes(data))
        return found

    def keep(self, manifests: Sequence[Manifest]) -> None:
        """Serve these from now on, newest first. Raises OSError."""
        record = {"manifests": [one.sha256() for one in manifests]}
        durable.write(self.path / "kept.json", json.dumps(record, indent=1).encode())

    def sweep(self, manifests: Sequence[Manifest], history: Collection[str]) -> None:
        """Remove all but what these editions need, and the manifests of these hashes. Raises OSError.

        Of what they need, the parts of downloads stay as well.
        """
        rows = [one.rows for one in manifests if one.rows is not None]
        remove_rows(self.rows, self.audience, rows)
        data = {one.level.sha256 for one in rows}
        data.update(*(source_files(one.partitions, labelled=one.has_labelled_rows) for one in manifests))
        targets = {self.manifest_path(sha256).name for sha256 in history}
        targets |= {self.manifest_path(one.sha256()).name for one in manifests}
        for folder, names in ((self.data, data), (self.public / "targets", targets)):
            for path in folder.iterdir():
                if path.name.removesuffix(".part") not in names and not path.name.startswith("."):
                    with contextlib.suppress(OSError):
                        durable.remove(path)


def _object(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is not a JSON object")  # noqa: TRY004 - like other malformed JSON
    return value
