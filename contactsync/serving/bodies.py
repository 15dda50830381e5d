"""The body of a small request, read to its end or to its limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable


async def read_body(pieces: AsyncIterable[bytes], limit: int, seconds: float) -> bytes | None:
    """The body, which is never held beyond `limit` octets; None if it is longer. Raises TimeoutError."""
    body = bytearray()
    async with asyncio.timeout(seconds):
        async for piece in pieces:
            body += piece
            if len(body) > limit:
                return None
    return bytes(body)
