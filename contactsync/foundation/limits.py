"""Limits that packages share without importing each other.

This module imports nothing: the help of a command, and the client before it blinds, need the figures but not
the kernels. A limit of only one package is in that package.
"""

from __future__ import annotations

from typing import Final

MAX_BATCH: Final = 4096
"""Elements in one request, as stated in docs/protocol.md. The limit of RFC 9497 is 65535."""
