"""Limits that parts have to share without importing each other.

It imports nothing: a command that shows its help, and the client before it blinds, need the figures and not
the kernels. A limit that one package alone keeps stands in that package.
"""

from __future__ import annotations

from typing import Final

MAX_BATCH: Final = 4096
"""Elements of one request, stated in docs/protocol.md; RFC 9497's own limit is 65535."""
