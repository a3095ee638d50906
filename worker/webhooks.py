"""Sends what happened to the webhooks that asked for it; runs beside the reconciler's duties.

Each webhook has at most one message on its way from here, and each try at most so many seconds, on
an event loop of its own: an endpoint that hangs holds up nobody but itself. After a failure its
other messages wait as long as the one that failed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TypeVar

import httpx
import structlog
from standardwebhooks import Webhook as Signer

from pgd_core.jobs.webhooks import (
    Network,
    Parcel,
    WebhookStore,
    again_in,
    fault_of_url,
    may_connect,
)

ROUND_S = 1.0
TRY_S = 15.0  # one try, from the look-up of the name to the answer
EACH = 8  # messages of a webhook at a time
LEASE = timedelta(seconds=EACH * TRY_S + 60)
AT_ONCE = 500  # webhooks
KEPT = timedelta(days=30)  # of deliveries that ended
_FORGET_EVERY_S = 3600.0
_ADDRESSES = 3  # of a host that are tried

Result = TypeVar("Result")
log = structlog.get_logger()


@dataclass(frozen=True)
class Reach:
    """Where messages may go."""

    http: bool = False  # without TLS, too
    networks: tuple[Network, ...] = ()  # beside public addresses


@dataclass(frozen=True)
class Answer:
    """What became of a try."""

    status: int | None = None
    error: str = ""

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class WebhookSender:
    """Dispatches, claims and sends until it is asked to stop."""

    def __init__(
        self,
        store: WebhookStore,
        reach: Reach,
        *,
        round_s: float = ROUND_S,
        try_s: float = TRY_S,
        again_in: Callable[[int], timedelta | None] = again_in,
        alive: Callable[[], object] = lambda: None,
    ) -> None:
        self._store, self._reach, self._again_in = store, reach, again_in
        self._round_s, self._try_s, self._alive = round_s, try_s, alive
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by webhook
        self._forgot_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """In a thread of its own."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        # The database's threads are not those that look names up, which may hang for long.
        self._writers = ThreadPoolExecutor(4, thread_name_prefix="webhooks")
        names = ThreadPoolExecutor(64, thread_name_prefix="names")
        asyncio.get_running_loop().set_default_executor(names)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        with self._writers:
            async with httpx.AsyncClient(
                trust_env=False, follow_redirects=False, limits=limits, timeout=self._try_s
            ) as self._http:
                while not stop.is_set():
                    try:
                        await self._round()
                    except Exception:  # a database that is down comes back
                        log.exception("webhook_round_failed")
                    await asyncio.sleep(self._round_s)
                left = list(self._tasks.values())
                for task in left:
                    task.cancel()  # its messages are sent again when their lease has ended
                await asyncio.gather(*left, return_exceptions=True)

    async def _round(self) -> None:
        """Take what is due, and set off with it; whoever looks is told that this works."""
        while await self._in_thread(self._store.dispatch):
            pass
        await self._forget()
        self._alive()
        room = (AT_ONCE - len(self._tasks)) * EACH
        if room <= 0:
            return
        parcels = await self._in_thread(partial(self._claim, list(self._tasks), room))
        ordered = sorted(parcels, key=lambda parcel: parcel.webhook_id)  # stable: oldest first
        for webhook_id, batch in groupby(ordered, key=lambda parcel: parcel.webhook_id):
            self._tasks[webhook_id] = asyncio.create_task(self._send_all(list(batch)))

    def _claim(self, busy: list[str], room: int) -> Sequence[Parcel]:
        return self._store.claim(LEASE, busy=busy, each=EACH, limit=room)

    async def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._forgot_at >= _FORGET_EVERY_S:
            self._forgot_at = now
            await self._in_thread(partial(self._store.forget, KEPT))

    async def _send_all(self, parcels: Sequence[Parcel]) -> None:
        """One webhook's messages, one after another, up to the first that fails."""
        try:
            for place, parcel in enumerate(parcels):
                answer = await self._try(parcel)
                if answer.good and answer.status is not None:
                    await self._in_thread(partial(self._store.delivered, parcel, answer.status))
                    continue
                wait = await self._failed(parcel, answer)
                await self._in_thread(partial(self._store.postpone, parcels[place + 1 :], wait))
                return
        except Exception:  # the database is down: the lease brings them back
            log.exception("webhook_not_noted", webhook=parcels[0].webhook_id)
        finally:
            del self._tasks[parcels[0].webhook_id]

    async def _failed(self, parcel: Parcel, answer: Answer) -> timedelta:
        """Note it; how long the webhook's other messages wait."""
        wait = self._again_in(parcel.number)
        if wait is not None:
            wait *= random.uniform(1.0, 1.2)  # those who fell together do not come back together
        told = {"delivery": parcel.id, "webhook": parcel.webhook_id, "number": parcel.number}
        log.info("webhook_try_failed", error=answer.error, given_up=wait is None, **told)
        await self._in_thread(
            partial(self._store.try_failed, parcel, answer.status, answer.error, wait)
        )
        return wait or timedelta(0)

    async def _try(self, parcel: Parcel) -> Answer:
        try:
            async with asyncio.timeout(self._try_s):
                return await self._post(parcel)
        except TimeoutError:
            return Answer(error=f"no answer within {self._try_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            return Answer(error=f"{type(error).__name__}: {error}"[:500])

    async def _post(self, parcel: Parcel) -> Answer:
        url = httpx.URL(parcel.url)
        fault = fault_of_url(parcel.url, http=self._reach.http, networks=self._reach.networks)
        if fault is not None:
            return Answer(error=fault)
        host = url.raw_host.decode()
        found = await _addresses(host, url.port or (443 if url.scheme == "https" else 80))
        for address in found:
            if not may_connect(ipaddress.ip_address(address), self._reach.networks):
                return Answer(error=f"{host} is {address}, which is no public address")
        *others, last = found[:_ADDRESSES]
        for address in others:
            with suppress(httpx.ConnectError):
                return await self._post_to(url, address, parcel)
        return await self._post_to(url, last, parcel)

    async def _post_to(self, url: httpx.URL, address: str, parcel: Parcel) -> Answer:
        """To this very address, which was looked at: the name is not looked up a second time."""
        now = datetime.now(UTC)
        headers = {
            "Host": url.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": "pgd-webhooks/1",
            "webhook-id": f"msg_{parcel.id}",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Signer(parcel.secret).sign(f"msg_{parcel.id}", now, parcel.body),
        }
        request = self._http.build_request(
            "POST",
            url.copy_with(host=address),
            content=parcel.body.encode(),
            headers=headers,
            extensions={"sni_hostname": url.raw_host.decode()},
        )
        answer = await self._http.send(request, stream=True)
        await answer.aclose()  # of its body nothing is read
        if answer.is_success:
            return Answer(answer.status_code)
        why = "redirects are not followed" if answer.is_redirect else "not a success"
        return Answer(answer.status_code, f"HTTP {answer.status_code}: {why}")

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._writers, call)


async def _addresses(host: str, port: int) -> list[str]:
    """What the name leads to, each once; at least one."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in found))
