"""The folder in which a client keeps what it knows: `Client.state`; and the time that one run may take."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from contactsync.client.patience import Patience
from contactsync.client.state import ServerState, State, canonical_url, is_pinned

__all__ = ["Patience", "ServerState", "State", "canonical_url", "is_pinned", "open_state", "user_state"]


def user_state() -> Path:
    """The folder in which the command line keeps its state."""
    return Path(platformdirs.user_state_dir("contactsync"))


def open_state(folder: Path | str | None = None) -> State:
    """The state in this folder, or in the user's own. It need not exist yet."""
    return State(user_state() if folder is None else Path(folder))
