"""What the last sync with each server found, without the network."""

from __future__ import annotations

from dataclasses import dataclass

from contactsync.client.results import FoundPerson, LastSync, recall
from contactsync.library.state import State

__all__ = ["FoundPerson", "LastFound", "LastSync", "last_syncs"]


@dataclass(frozen=True, slots=True)
class LastFound:
    """What the last sync with a server found in an audience. `last.people` is None if names are not kept."""

    url: str
    audience: str
    last: LastSync


def last_syncs(state: State, server: str | None = None) -> list[LastFound]:
    """The last sync with each trusted server and audience; or with one server. Raises OurError: damaged."""
    servers = state.servers() if server is None else [state.server(server)]
    return [
        LastFound(one.url, audience, last)  # of one server, in one audience
        for one in servers
        for audience, last in recall(one.results).items()
    ]
