"""Pictures that models look at: taken in whole, a few at once, at a bounded cost each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect

from api.errors import Busy, TooLarge, TooSlow
from pgd_core.errors import BadRequest
from pgd_core.predict import Limits
from pgd_core.settings import Settings

MEDIA_TYPES = {"image/jpeg": "JPEG", "image/png": "PNG"}  # and what Pillow calls them
AGAIN_AFTER_S = 2
_ARRIVING_EACH = 4  # pictures on their way for each that is looked at


class Predictor:
    """What this process may spend on pictures at once."""

    def __init__(self, limits: Limits, at_once: int) -> None:
        self.limits = limits
        self._at_once = at_once
        self._looking = threading.BoundedSemaphore(at_once)
        self._arriving = threading.BoundedSemaphore(_ARRIVING_EACH * at_once)

    @classmethod
    def of(cls, settings: Settings) -> Predictor:
        """As the operator allows."""
        limits = Limits(
            max_bytes=settings.max_picture_bytes,
            max_pixels=settings.max_picture_pixels,
            time_s=settings.prediction_s,
            memory_bytes=settings.prediction_memory_bytes,
            formats=tuple(MEDIA_TYPES.values()),
        )
        return cls(limits, settings.predictions)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A place for one prediction; Busy where there is none."""
        with self._place(self._looking):
            yield

    async def received(self, body: AsyncIterator[bytes]) -> bytes:
        """The whole picture; it may neither be too large nor take too long to arrive."""
        with self._place(self._arriving):
            try:
                async with asyncio.timeout(self.limits.time_s):
                    return await self._whole(body)
            except TimeoutError as error:
                raise TooSlow(
                    f"the picture was not here after {self.limits.time_s:g} s; send a smaller one"
                ) from error
            except ClientDisconnect as error:  # nobody hears it, but it is no defect of ours
                raise BadRequest("the connection ended before the picture did") from error

    async def _whole(self, body: AsyncIterator[bytes]) -> bytes:
        picture = bytearray()
        async for piece in body:
            picture += piece
            if len(picture) > self.limits.max_bytes:
                raise TooLarge(
                    f"the picture is over {self.limits.max_bytes} bytes, this server's limit "
                    "(PGD_MAX_PICTURE_BYTES)"
                )
        if not picture:
            raise BadRequest("the body is empty; send the picture's bytes as the body")
        return bytes(picture)

    @contextmanager
    def _place(self, places: threading.BoundedSemaphore) -> Iterator[None]:
        if not places.acquire(blocking=False):
            raise Busy(
                f"the server looks at {self._at_once} pictures already; send it again in "
                f"{AGAIN_AFTER_S} s",
                AGAIN_AFTER_S,
            )
        try:
            yield
        finally:
            places.release()
