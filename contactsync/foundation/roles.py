"""The roles of TUF (specification §2.1): who signs what of a publication."""

from __future__ import annotations

from typing import Final

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
PUBLISHING: Final = ("targets", "snapshot", "timestamp")
"""The roles that every publish signs."""
ONLINE: Final = ("snapshot", "timestamp")
"""The roles whose keys the serving process holds."""
OFFLINE: Final = ("root", "targets")
"""The roles whose keys may be elsewhere."""
