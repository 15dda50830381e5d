"""Which files of `public/` belong into a store, under which names, and in which order.

Names are the paths of docs/http-api.md. So what any web server gives out of a store is what `serve` answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contactsync.publication.tuf.repository import Published, Repository
from contactsync.server.objects.ports import ACCOUNTS_ONLY, CHANGES, IMMUTABLE, Headers
from contactsync.server.settings import DataFolder

BELOW: Final = "v1"
METADATA: Final = f"{BELOW}/tuf/metadata"
TIMESTAMP: Final = f"{METADATA}/timestamp.json"
NEWEST_ROOT: Final = f"{METADATA}/root.json"
CHECKPOINT: Final = f"{BELOW}/log/checkpoint"
DATA: Final = f"{BELOW}/data"

_JSON_TYPE: Final = "application/json"
_OCTETS_TYPE: Final = "application/octet-stream"
_TEXT_TYPE: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A file of `public/` and its name in a store. Under a name that says what it holds nothing changes."""

    name: str
    path: Path
    headers: Headers

    @property
    def sha256(self) -> str:
        """The hash in its name; empty if its name has none."""
        last = self.name.rpartition("/")[2].partition(".")[0]
        return last if self.name.startswith((f"{DATA}/", f"{BELOW}/tuf/targets/")) else ""


@dataclass(frozen=True, slots=True)
class PublicFiles:
    """What belongs into a store. All of `fixed` come first, then `roots` in turn, and `switches` in turn."""

    fixed: tuple[PublicFile, ...]
    roots: tuple[PublicFile, ...]
    switches: tuple[PublicFile, ...]

    def names(self) -> set[str]:
        """The names of all of them."""
        return {one.name for group in (self.fixed, self.roots, self.switches) for one in group}


def public_files(public: Path, published: Published) -> PublicFiles:
    """What belongs into a store of what is published now in `public`."""
    metadata = public / "metadata"
    versions = sorted(int(path.name.partition(".")[0]) for path in metadata.glob("*.root.json"))
    roots = [
        PublicFile(f"{METADATA}/{path.name}", path, Headers(_JSON_TYPE, IMMUTABLE))
        for path in (metadata / f"{version}.root.json" for version in versions)
    ]
    switches = [
        PublicFile(NEWEST_ROOT, roots[-1].path, Headers(_JSON_TYPE, CHANGES)),
        PublicFile(TIMESTAMP, metadata / "timestamp.json", Headers(_JSON_TYPE, CHANGES)),
    ]
    checkpoint = public / "log" / "checkpoint"
    if checkpoint.exists():
        # A client looks for a manifest in the log after it has seen the timestamp that leads to it.
        switches.insert(0, PublicFile(CHECKPOINT, checkpoint, Headers(_TEXT_TYPE, CHANGES)))
    return PublicFiles(tuple(_fixed(public, published)), tuple(roots), tuple(switches))


def _fixed(public: Path, published: Published) -> Iterator[PublicFile]:
    for path in _files(public / "data"):
        yield PublicFile(f"{DATA}/{path.name}", path, Headers(_OCTETS_TYPE, ACCOUNTS_ONLY))
    for path in _files(public / "targets"):
        yield PublicFile(f"{BELOW}/tuf/targets/{path.name}", path, Headers(_JSON_TYPE, IMMUTABLE))
    for role in ("targets", "snapshot"):
        newest = published.by_role()[role].signed.version
        for path in _files(public / "metadata"):
            version, _, rest = path.name.partition(".")
            # A newer one was left by a publish that was killed, and will be written again, with other octets.
            if rest == f"{role}.json" and int(version) <= newest:
                yield PublicFile(f"{METADATA}/{path.name}", path, Headers(_JSON_TYPE, IMMUTABLE))
    log = public / "log"
    for path in sorted(log.rglob("*")):
        name = path.relative_to(log).as_posix()
        if path.is_file() and not path.name.startswith(".") and name != "checkpoint":
            is_tile = name.startswith("tile/")
            headers = Headers(_OCTETS_TYPE, IMMUTABLE) if is_tile else Headers(_TEXT_TYPE, CHANGES)
            yield PublicFile(f"{BELOW}/log/{name}", path, headers)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def to_copy(folder: DataFolder) -> tuple[str, Published] | None:
    """The URL of a folder's store, and what is published; None if it names none, or nothing is."""
    store, published = folder.settings().store, Repository(folder.public).published()
    return None if not store or published is None else (store, published)
