"""Webhooks: who is told of what happens to a team's jobs, what is said, and how often it is tried.

The messages and their signature follow Standard Webhooks (standardwebhooks.com).
"""

from __future__ import annotations

import base64
import ipaddress
import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from pgd_core.jobs.event_words import KINDS, sentence_of
from pgd_core.jobs.job import Event, Job

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
EVENT_KINDS = KINDS
TEST = "test"  # the kind of a message that somebody asked for
MOST_OF_A_TEAM = 20
# Between the tries of one message; after the last it is given up, about a day after the first.
WAITS_S = (5, 30, 120, 600, 1800, 7200, 18_000, 36_000)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # given up


@dataclass(frozen=True)
class Webhook:
    """An address that is told; its secret is known to its maker and the sender alone."""

    id: str  # UUIDv7
    team: str
    url: str
    kinds: tuple[str, ...]  # of events; none: all
    created_by: str
    created_at: datetime


@dataclass(frozen=True)
class Delivery:
    """One message to one webhook."""

    id: str  # UUIDv7; the receiver knows the message by it, however often it comes
    webhook_id: str
    kind: str
    job_id: str | None  # None: a test
    sequence: int | None  # of the job's event
    state: DeliveryState
    tries: int
    status: int | None  # HTTP's, of the last try; None: no answer
    error: str  # why the last try failed
    created_at: datetime
    next_try_at: datetime | None  # None: it has ended
    ended_at: datetime | None


@dataclass(frozen=True)
class Parcel:
    """A delivery in the hands of a sender."""

    id: str
    webhook_id: str
    url: str
    secret: str
    body: str
    number: int  # of this try, from 1


class WebhookStore(Protocol):
    """Webhooks and what is to be sent to them."""

    def add(self, team: str, url: str, kinds: Sequence[str], *, by: str) -> tuple[Webhook, str]:
        """A new one and its secret; QuotaExceeded over a team's number."""

    def webhook(self, webhook_id: str) -> Webhook: ...
    def webhooks(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Webhook]:
        """Newest first."""

    def delete(self, webhook_id: str) -> Webhook:
        """Gone with its deliveries; what is on its way arrives."""

    def deliveries(
        self,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[Delivery]:
        """Newest first."""

    def test(self, webhook_id: str) -> Delivery:
        """A message that only says that messages arrive."""

    # The sender's side

    def dispatch(self, limit: int = 200) -> int:
        """Make deliveries of events that were not looked at yet, each event once, whatever order
        they were committed in; how many events."""

    def claim(
        self, lease: timedelta, *, busy: Collection[str] = (), each: int = 8, limit: int = 200
    ) -> Sequence[Parcel]:
        """Deliveries that are due, oldest first, a few of each webhook and none of a busy one;
        nobody else gets them until the lease ends."""

    def delivered(self, parcel: Parcel, status: int) -> None: ...
    def try_failed(
        self, parcel: Parcel, status: int | None, error: str, again_in: timedelta | None
    ) -> None:
        """To be tried again; None: given up."""

    def postpone(self, parcels: Sequence[Parcel], by: timedelta) -> None:
        """Not tried after all: no try is used up."""

    def forget(self, kept: timedelta) -> int:
        """Delete deliveries that ended longer ago."""


def new_webhook_secret() -> str:
    """A signing secret that nobody had before."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def again_in(number: int) -> timedelta | None:
    """How long after a try of this number the next one comes; None: it was the last."""
    return timedelta(seconds=WAITS_S[number - 1]) if number <= len(WAITS_S) else None


def message_of(event: Event, job: Job) -> str:
    """What is said of an event."""
    data = {
        "job_id": job.id,
        "job_name": job.name,
        "job_kind": job.kind,
        "team": job.team,
        "sequence": event.sequence,
        "by": event.by,
        "sentence": sentence_of(event),
        "data": event.data,
    }
    return _body(f"job.{event.kind}", event.at, data)


def test_message(webhook: Webhook, at: datetime) -> str:
    """What a test says."""
    return _body("webhook.test", at, {"webhook_id": webhook.id, "team": webhook.team})


def _body(kind: str, at: datetime, data: object) -> str:
    content = {"type": kind, "timestamp": at.isoformat(), "data": data}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def fault_of_url(url: str, *, http: bool, networks: Sequence[Network]) -> str | None:
    """Why nothing is sent there, as far as can be told before its name is looked up; or None."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"it is no URL: {error}"
    if parts.scheme != "https" and not (http and parts.scheme == "http"):
        return "it must begin with https://"
    if not host or port == 0:
        return "it names no host"
    if parts.username is not None or parts.password is not None:
        return "it must hold no name and no password"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if may_connect(address, networks) else f"{host} is no public address"


def may_connect(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Sequence[Network]
) -> bool:
    """Whether messages may go to this address: a public one, or in a network that is allowed."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return may_connect(address.ipv4_mapped, networks)
        if address in _NAT64:
            return may_connect(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), networks)
        if address.sixtofour is not None or address.teredo is not None:
            return False  # tunnels, which may lead anywhere
    if any(address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast
