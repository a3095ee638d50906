"""API keys and audit events in the database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from pgd_core.errors import Conflict, NotFound, Unauthenticated
from pgd_core.jobs.keys import ALL_TEAMS, Role, sha256_of
from pgd_core.store import SqlAuditStore, SqlKeyStore
from pgd_core.store.access_tables import KeyRow
from pgd_core.store.engine import reading, writing


@pytest.fixture
def store(engine):
    return SqlKeyStore(engine)


def test_a_key_is_found_by_its_secret_alone_which_is_not_stored(store, engine):
    key, secret = store.create("mira", "vision", Role.SUBMITTER)

    assert store.holder(secret) == store.key(key.id) == key
    assert (key.name, key.team, key.role, key.operator) == ("mira", "vision", "submitter", False)
    assert secret.startswith(key.prefix)
    assert len(secret) == 52
    with reading(engine) as session:
        row = session.scalars(select(KeyRow)).one()
        stored = [str(getattr(row, column.name)) for column in KeyRow.__table__.columns]
    assert sha256_of(secret) in stored
    assert not any(secret in value for value in stored)


def test_no_two_secrets_are_alike(store):
    made = [store.create("k", "vision", Role.VIEWER) for _ in range(20)]

    assert len({secret for _, secret in made}) == len({key.prefix for key, _ in made}) == 20


@pytest.mark.parametrize(
    "wrong",
    [lambda s: s[:-1], lambda s: s + "A", lambda s: s[:12] + "A" * 40, str.lower, lambda _: ""],
)
def test_a_secret_that_is_not_quite_right_is_no_key(store, wrong):
    _, secret = store.create("mira", "vision", Role.SUBMITTER)

    with pytest.raises(Unauthenticated, match="no such API key"):
        store.holder(wrong(secret))


def test_an_expired_key_opens_nothing_and_one_that_will_expire_does(store):
    now = datetime.now(UTC)
    _, past = store.create("old", "a", Role.VIEWER, expires_at=now - timedelta(minutes=1))
    later, future = store.create("new", "a", Role.VIEWER, expires_at=now + timedelta(hours=1))

    with pytest.raises(Unauthenticated, match="'old' has expired"):
        store.holder(past)
    assert store.holder(future) == later


def test_a_revoked_key_opens_nothing_and_stays_in_the_list_with_its_time(store):
    key, secret = store.create("mira", "vision", Role.SUBMITTER)

    revoked = store.revoke(key.id)

    assert revoked.revoked_at is not None
    assert store.revoke(key.id) == revoked
    assert list(store.keys(team="vision")) == [revoked]
    with pytest.raises(Unauthenticated, match="'mira' was revoked"):
        store.holder(secret)
    with pytest.raises(NotFound, match="no key none"):
        store.revoke("none")


def test_the_last_operators_key_is_not_revoked(store):
    past = datetime.now(UTC) - timedelta(minutes=1)
    store.create("expired", ALL_TEAMS, Role.ADMIN, expires_at=past)
    assert not store.has_operator()
    first, _ = store.create("first", ALL_TEAMS, Role.ADMIN)
    assert store.has_operator()

    with pytest.raises(Conflict, match="last operator's"):
        store.revoke(first.id)
    second, _ = store.create("second", ALL_TEAMS, Role.ADMIN)
    store.revoke(first.id)

    with pytest.raises(Conflict, match="last operator's"):
        store.revoke(second.id)


def test_of_two_operators_that_revoke_each_other_at_once_one_stays(store):
    pair = [store.create(name, ALL_TEAMS, Role.ADMIN)[0].id for name in ("first", "second")]

    def revoke(key_id):
        try:
            store.revoke(key_id)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(revoke, pair)) == [False, True]
    assert store.has_operator()


def test_the_use_of_a_key_is_noted_at_most_once_a_minute(store, engine):
    key, _ = store.create("mira", "vision", Role.SUBMITTER)
    assert key.last_used_at is None

    store.used(key.id)
    first = store.key(key.id).last_used_at
    store.used(key.id)

    assert first is not None
    assert store.key(key.id).last_used_at == first
    long_ago = first - timedelta(minutes=2)
    with writing(engine) as session:
        session.execute(update(KeyRow).values(last_used_at=long_ago))
    store.used(key.id)
    assert store.key(key.id).last_used_at >= first


def test_keys_are_listed_newest_first_page_by_page(store):
    ids = [store.create(str(n), "a" if n % 2 else "b", Role.VIEWER)[0].id for n in range(4)]

    assert [key.id for key in store.keys(limit=9)] == ids[::-1]
    assert [key.id for key in store.keys(team="a")] == [ids[3], ids[1]]
    assert [key.id for key in store.keys(after=ids[2], limit=1)] == [ids[1]]


def test_audit_events_are_kept_newest_first_and_by_team(engine):
    audit = SqlAuditStore(engine)
    for number, team in enumerate(["a", "b", "a"]):
        audit.note(
            key_id="k",
            key_name="mira",
            team=team,
            action="submit_job",
            thing=f"jobs/{number}",
            details={"name": "a\x00b"},
        )

    assert [event.thing for event in audit.events()] == ["jobs/2", "jobs/1", "jobs/0"]
    assert [event.thing for event in audit.events(team="a", limit=1)] == ["jobs/2"]
    first = audit.events(after=audit.events()[1].id)[0]
    assert (first.key_name, first.action, first.details) == ("mira", "submit_job", {"name": "ab"})
