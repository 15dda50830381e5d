"""What one client was shown, as a file that can be mailed around: signed public octets, and nothing else.

```
{"format": "contactsync-snapshot-1", "taken": SECONDS, "sha256": HEX, "servers": [
  {"url": …, "roots": {"1": BASE64, …}, "metadata": {"targets": BASE64, …},
   "manifests": {"people": BASE64, …}, "gaps": {"people": [[EPOCH, EDITION], [EPOCH, EDITION]]},
   "log": {"checkpoint": BASE64, "tiles": {"tile/0/000.p/3": BASE64, …}}}]}
```

`sha256` is that of canonical JSON of all other members: it finds accidents. What was changed on purpose shows
in signatures, when two snapshots are compared. Nothing of a contact, an account or a credential is in it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from contactsync.client.state import ServerState, canonical_url
from contactsync.foundation import durable
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput, BadReply, OurError
from contactsync.publication import canonical
from contactsync.publication.history import Gap, Position
from contactsync.publication.logged import CHECKPOINT, kept_of_log

FORMAT: Final = "contactsync-snapshot-1"
MAX_SNAPSHOT: Final = 64 << 20
"""Octets of the largest file that is read."""

_METADATA: Final = ("timestamp", "snapshot", "targets")
_TILE: Final = re.compile(r"tile/(entries|[0-9]{1,2})(/x?[0-9]{3})+(\.p/[0-9]{1,3})?")
_TAKE_AGAIN: Final = "take it again: contactsync audit snapshot --state DIR OUT"


@dataclass(frozen=True, slots=True)
class ServerView:
    """What a client was shown of one server. All octets are as they were received.

    `roots` by version, `metadata` by role, `manifests` by audience: the last one of each. `gaps`: what could
    not be checked of the history before. `checkpoint` is the last note of the log, `tiles` of it by path.
    """

    url: str
    roots: Mapping[int, bytes]
    metadata: Mapping[str, bytes]
    manifests: Mapping[str, bytes]
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    checkpoint: bytes | None = None
    tiles: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of some servers, taken at a time in seconds since 1970."""

    taken: int
    servers: tuple[ServerView, ...]

    def to_bytes(self) -> bytes:
        """The file."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "taken": self.taken,
            "servers": [_value_of(one) for one in self.servers],
        }
        value["sha256"] = hashlib.sha256(canonical.encode(value)).hexdigest()
        return json.dumps(value, indent=1).encode("ascii") + b"\n"


def view_of(server: ServerState) -> ServerView:
    """What the state of a client says of a server. The caller holds its lock. Raises OurError: unreadable."""
    kept, log = server.tuf / "metadata", kept_of_log(server.log)
    gaps = {}
    try:
        history = {path.name.partition(".")[0]: path for path in (kept / "root_history").glob("*.root.json")}
        roots = {int(version): path.read_bytes() for version, path in history.items() if version.isdecimal()}
        for audience in AUDIENCES:
            with contextlib.suppress(FileNotFoundError):
                gaps[audience] = _gap(json.loads((server.tuf / "gaps" / f"{audience}.json").read_bytes()))
        return ServerView(
            server.url,
            roots,
            _files(kept, _METADATA),
            _files(server.tuf / "manifests", AUDIENCES),
            gaps,
            log.get(CHECKPOINT),
            {path: octets for path, octets in log.items() if _TILE.fullmatch(path)},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OurError(
            f"the state of {server.url} cannot be read: {error}", hint="sync once more, then try again"
        ) from error


def write_snapshot(path: Path, servers: Iterable[ServerView], taken: int) -> int:
    """Write a new file, 0644: it is public. Returns its octets. Raises BadInput: it exists, or cannot be."""
    octets = Snapshot(taken, tuple(servers)).to_bytes()
    if path.exists():
        raise BadInput(f"{path} already exists", hint="give a new file: a snapshot is never overwritten")
    try:
        durable.write(path, octets, mode=0o644)
    except OSError as error:
        raise BadInput(f"cannot create {path}: {error.strerror}", hint="choose another place") from error
    return len(octets)


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot. Raises BadInput: there is no such file; BadReply, with the place: it is not whole."""
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_SNAPSHOT + 1)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}", hint="check the name") from error
    if len(octets) > MAX_SNAPSHOT:
        raise BadReply(f"{path} has more than {MAX_SNAPSHOT:,} bytes", hint="give a snapshot")
    try:
        value = json.loads(octets.decode("ascii"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"{path} is not JSON: {_where(error)}", hint=_TAKE_AGAIN) from error
    form = value.get("format") if isinstance(value, dict) else None
    if form != FORMAT:
        found = repr(form)[:60] if isinstance(form, str) else "no format"
        raise BadReply(f"{path} is no snapshot that this program reads ({found})", hint=_TAKE_AGAIN)
    stated = value.pop("sha256", None)
    if stated != hashlib.sha256(canonical.encode(value)).hexdigest():
        raise BadReply(
            f"{path} was changed or damaged: its content does not have the hash that it states",
            hint="have it sent again, as a file",
        )
    try:
        return _snapshot(**value)
    except (ValueError, KeyError, TypeError, AttributeError, BadInput) as error:
        raise BadReply(f"{path} is not a whole snapshot: {_where(error)}", hint=_TAKE_AGAIN) from error


def _snapshot(*, format: str, taken: object, servers: list[Any]) -> Snapshot:  # noqa: A002, ARG001
    return Snapshot(_number(taken), tuple(map(_view, servers)))


def _files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def _gap(value: Any) -> Gap:
    since, until = (value["since"], value["until"]) if isinstance(value, dict) else value
    return Gap(Position(*map(_number, since)), Position(*map(_number, until)))


def _value_of(view: ServerView) -> dict[str, Any]:
    value: dict[str, Any] = {
        "url": view.url,
        "roots": {str(version): _text(view.roots[version]) for version in sorted(view.roots)},
        "metadata": {role: _text(octets) for role, octets in view.metadata.items()},
        "manifests": {audience: _text(octets) for audience, octets in view.manifests.items()},
        "gaps": {
            audience: [[end.epoch, end.edition] for end in (gap.since, gap.until)]
            for audience, gap in view.gaps.items()
        },
    }
    if view.checkpoint is not None:
        tiles = {path: _text(octets) for path, octets in view.tiles.items()}
        value["log"] = {"checkpoint": _text(view.checkpoint), "tiles": tiles}
    return value


def _view(value: dict[str, Any]) -> ServerView:
    known = {"url", "roots", "metadata", "manifests", "gaps"}
    if set(value) - {"log"} != known:
        raise KeyError("members of a server")
    log = value.get("log", {"checkpoint": None, "tiles": {}})
    gaps = {audience: _gap(ends) for audience, ends in value["gaps"].items()}
    roots = {int(version): _octets(text) for version, text in value["roots"].items()}
    metadata = {role: _octets(text) for role, text in value["metadata"].items()}
    manifests = {audience: _octets(text) for audience, text in value["manifests"].items()}
    tiles = {path: _octets(text) for path, text in log["tiles"].items()}
    named = set(metadata) <= set(_METADATA) and {*manifests, *gaps} <= set(AUDIENCES)
    if not named or not all(map(_TILE.fullmatch, tiles)) or set(log) != {"checkpoint", "tiles"}:
        raise KeyError("members of a server")
    checkpoint = None if log["checkpoint"] is None else _octets(log["checkpoint"])
    return ServerView(canonical_url(value["url"]), roots, metadata, manifests, gaps, checkpoint, tiles)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands twice")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 < value <= canonical.MAX_NUMBER:
        raise ValueError("a number that is none")
    return value


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _octets(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii"), validate=True)


def _where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}: {error.msg}"
    return str(error)
