"""Webhooks and their outbox: nothing that happened is left out, nothing is sent by two at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from pgd_core.errors import NotFound, QuotaExceeded
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.webhooks import MOST_OF_A_TEAM
from pgd_core.store import SqlTeamStore, SqlWebhookStore, open_engine
from pgd_core.store.engine import writing
from pgd_core.store.moves import add_event, locked_job
from pgd_core.store.tables import EventRow

MINUTE = timedelta(minutes=1)
NOW = timedelta(0)
URL = "https://hooks.example/pgd"


@pytest.fixture
def store(engine):
    return SqlWebhookStore(engine)


@pytest.fixture
def other_team(engine):
    SqlTeamStore(engine).put("other", weight=1, max_running_gpus=None, max_queued_jobs=None)
    return "other"


def test_a_webhook_is_shown_without_its_secret(store):
    webhook, secret = store.add("default", URL, ("failed",), by="mira")

    assert store.webhook(webhook.id) == webhook
    assert list(store.webhooks(team="default")) == [webhook]
    assert list(store.webhooks(team="other")) == []
    assert (webhook.url, webhook.kinds, webhook.created_by) == (URL, ("failed",), "mira")
    assert secret.startswith("whsec_")
    assert secret not in repr(webhook)


def test_a_team_has_so_many_webhooks_and_no_more(store, other_team):
    for _ in range(MOST_OF_A_TEAM):
        store.add("default", URL, (), by="")

    with pytest.raises(QuotaExceeded, match="delete one"):
        store.add("default", URL, (), by="")
    store.add(other_team, URL, (), by="")


def test_each_event_of_the_teams_jobs_becomes_one_delivery_of_those_who_want_it(
    store, jobs, spec, other_team
):
    jobs.submit(spec)  # before anybody wanted to know
    every, _ = store.add("default", URL, (), by="")
    ends, _ = store.add("default", URL, ("cancelled",), by="")
    theirs, _ = store.add(other_team, URL, (), by="")
    job = jobs.submit(spec)
    jobs.cancel(job.id, by="mira")

    assert store.dispatch() == 3
    assert store.dispatch() == 0

    told = [(d.job_id, d.kind, d.sequence) for d in store.deliveries(every.id)]
    assert told == [(job.id, "cancelled", 2), (job.id, "submitted", 1)]
    assert [d.kind for d in store.deliveries(ends.id)] == ["cancelled"]
    assert store.deliveries(theirs.id) == []
    body = json.loads(next(p.body for p in store.claim(MINUTE) if p.webhook_id == ends.id))
    assert body["type"] == "job.cancelled"
    assert (body["data"]["job_id"], body["data"]["by"]) == (job.id, "mira")
    assert body["data"]["sentence"] == "mira cancelled it"


def test_an_event_that_is_committed_late_is_told_too(store, engine, jobs, spec):
    """On PostgreSQL a transaction that began early may end after others were dispatched."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    webhook, _ = store.add("default", URL, ("late", "paused"), by="")
    slow, quick = jobs.submit(spec), jobs.submit(spec)
    with writing(engine) as session:
        locked_job(session, slow.id)
        add_event(session, slow.id, "late", by="")
        session.flush()
        jobs.pause(quick.id)
        store.dispatch()
        assert [d.kind for d in store.deliveries(webhook.id)] == ["paused"]

    store.dispatch()
    assert [d.kind for d in store.deliveries(webhook.id)] == ["late", "paused"]


def test_two_dispatchers_at_once_make_no_delivery_twice(store, engine, jobs, spec):
    webhook, _ = store.add("default", URL, (), by="")
    submitted = [jobs.submit(spec).id for _ in range(30)]

    def work(_):
        while store.dispatch(limit=4):
            pass

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    while store.dispatch():
        pass

    assert sorted(d.job_id for d in store.deliveries(webhook.id, limit=200)) == sorted(submitted)
    with writing(engine) as session:
        assert session.scalars(select(EventRow).where(~EventRow.dispatched)).all() == []


def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(store, engine):
    webhook, secret = store.add("default", URL, (), by="")
    delivery = store.test(webhook.id)
    other = open_engine(engine.url.render_as_string(hide_password=False))

    (parcel,) = store.claim(MINUTE)

    assert (parcel.id, parcel.url, parcel.secret, parcel.number) == (delivery.id, URL, secret, 1)
    assert SqlWebhookStore(other).claim(MINUTE) == []
    other.dispose()
    store.postpone([parcel], -MINUTE)
    (again,) = store.claim(-MINUTE)  # the sender dies at once
    (third,) = store.claim(MINUTE)
    assert (again.number, third.number) == (1, 2)
    store.delivered(again, 200)  # too late: it is another's
    assert store.deliveries(webhook.id)[0].state == "pending"
    store.delivered(third, 204)
    (done,) = store.deliveries(webhook.id)
    assert (done.state, done.status, done.tries, done.next_try_at) == ("delivered", 204, 2, None)
    assert store.claim(MINUTE) == []


def test_many_senders_at_once_never_hold_the_same_delivery(store):
    webhook, _ = store.add("default", URL, (), by="")
    made = {store.test(webhook.id).id for _ in range(40)}

    def work(_):
        held = []
        while parcels := store.claim(MINUTE, each=3):
            held += [parcel.id for parcel in parcels]
        return held

    with ThreadPoolExecutor(4) as threads:
        held = [name for found in threads.map(work, range(4)) for name in found]
    held += [parcel.id for parcel in store.claim(MINUTE, each=100)]
    assert len(held) == len(set(held))
    assert set(held) == made


def test_one_webhooks_heap_leaves_room_for_the_others_and_a_busy_one_gets_none(store):
    heap, _ = store.add("default", URL, (), by="")
    small, _ = store.add("default", URL, (), by="")
    for _ in range(5):
        store.test(heap.id)
    store.test(small.id)

    first = store.claim(MINUTE, each=2)
    assert sorted(p.webhook_id for p in first) == sorted([heap.id, heap.id, small.id])
    assert store.claim(MINUTE, busy=[heap.id]) == []
    assert len(store.claim(MINUTE)) == 3


def test_a_try_that_failed_comes_again_until_it_is_given_up(store):
    webhook, _ = store.add("default", URL, (), by="")
    store.test(webhook.id)

    (parcel,) = store.claim(MINUTE)
    store.try_failed(parcel, 500, "HTTP 500", MINUTE)
    (waiting,) = store.deliveries(webhook.id, state="pending")
    assert (waiting.tries, waiting.status, waiting.error) == (1, 500, "HTTP 500")
    assert store.claim(MINUTE) == []

    store.try_failed(parcel, 500, "HTTP 500", -MINUTE)
    (parcel,) = store.claim(MINUTE)
    store.try_failed(parcel, None, "no answer", None)
    (ended,) = store.deliveries(webhook.id, state="failed")
    assert (ended.tries, ended.status, ended.error) == (2, None, "no answer")
    assert ended.ended_at is not None


def test_old_deliveries_are_forgotten_and_a_deleted_webhooks_at_once(store):
    webhook, _ = store.add("default", URL, (), by="")
    store.test(webhook.id)
    (parcel,) = store.claim(MINUTE)
    store.delivered(parcel, 200)
    store.test(webhook.id)

    assert store.forget(MINUTE) == 0
    assert store.forget(-MINUTE) == 1
    assert len(store.deliveries(webhook.id)) == 1  # it waits
    assert store.delete(webhook.id) == webhook
    with pytest.raises(NotFound):
        store.deliveries(webhook.id)
    assert store.claim(MINUTE) == []


def test_jobs_of_a_moved_team_are_told_to_the_new_one(store, jobs, spec, other_team):
    theirs, _ = store.add(other_team, URL, (), by="")
    jobs.submit(spec, Placement(team=other_team))

    store.dispatch()

    assert [d.kind for d in store.deliveries(theirs.id)] == ["submitted"]
