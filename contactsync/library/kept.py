"""What is kept on this machine about servers, and what bucket lists have told each. Nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from contactsync.client.cache import Cache
from contactsync.client.ledger import Ledger
from contactsync.client.quota import recall
from contactsync.client.results import recall as results
from contactsync.client.state import ServerState, State, is_pinned
from contactsync.client.trust import seen_manifests
from contactsync.foundation.errors import OurError
from contactsync.library.watching import watched_of

Value = TypeVar("Value")


def kept(state: State) -> dict[str, Any]:
    """The trusted servers and their data, as `contactsync status --json` prints it.

    What cannot be read is in `problems`; the rest is told all the same.
    """
    reading = _Reading()
    folders = state.folders()
    pinned = [folder for folder in folders if is_pinned(folder)]
    loaded = [server for folder in pinned if (server := reading.of(state.load, folder))]
    ledgers = {path.stem: ledger for path in state.ledgers() if (ledger := reading.of(Ledger.read, path))}
    servers = [
        _describe(server, ledgers.pop(server.folder.name, None), reading)
        for server in sorted(loaded, key=lambda server: server.url)
    ]
    return {
        "state": str(state.folder),
        "servers": servers,
        "not_trusted": [{"url": ledger.url, "told": _told(ledger)} for ledger in ledgers.values()],
        "leftovers": [str(folder) for folder in folders if folder not in pinned],
        "problems": reading.problems,
    }


@dataclass
class _Reading:
    """Reads, and collects what went wrong."""

    problems: list[dict[str, str]] = field(default_factory=list)

    def of(self, read: Callable[..., Value], *arguments: Any) -> Value | None:
        """What `read` gives; None if there is a problem."""
        try:
            return read(*arguments)
        except OurError as error:
            self.problems.append({"problem": str(error), "hint": error.hint})
        except OSError as error:
            what = f"{error.filename}: {error.strerror}"
            self.problems.append({"problem": what, "hint": "make it accessible"})
        return None


def _describe(server: ServerState, ledger: Ledger | None, reading: _Reading) -> dict[str, Any]:
    manifests = reading.of(seen_manifests, server) or []
    sizes = reading.of(_sizes, server.data) or []
    return {
        "url": server.url,
        "fingerprint": server.fingerprint,
        "second": server.second,
        "log": asdict(watched) if (watched := reading.of(watched_of, server)) else None,
        "audiences": [
            {"audience": m.audience, "epoch": m.epoch, "edition": m.edition, "members": m.count}
            for m in manifests
        ],
        "quota": {who: {**asdict(one.said), "at": one.at} for who, one in recall(server.quota).items()},
        "last_sync": {who: one.at for who, one in (reading.of(results, server.results) or {}).items()},
        "cached": reading.of(_counts, server),
        "data_files": len(sizes),
        "data_bytes": sum(sizes),
        "told": _told(ledger) if ledger else [],
    }


def _counts(server: ServerState) -> dict[str, int]:
    with Cache(server.cache, server.url) as cache:
        return cache.counts()


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.iterdir()] if folder.exists() else []


def _told(ledger: Ledger) -> list[dict[str, Any]]:
    return [asdict(one) | {"odds": one.odds} for one in ledger.told]
