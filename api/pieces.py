"""A request's body in pieces that are worth a write, for as long as something comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect

WRITE_BYTES = 2**20
# Whoever vanished without a word holds a place no longer than this.
SILENCE_S = 30.0


async def gathered(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body in larger pieces; TimeoutError where nothing comes for long.

    What had come is given also when the body breaks off.
    """
    waiting = bytearray()
    pieces = aiter(body)
    try:
        while True:
            async with asyncio.timeout(SILENCE_S):
                waiting += await anext(pieces)
            if len(waiting) >= WRITE_BYTES:
                yield bytes(waiting)
                waiting.clear()
    except StopAsyncIteration:
        yield bytes(waiting)
    except (ClientDisconnect, TimeoutError):
        yield bytes(waiting)
        raise
