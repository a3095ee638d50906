"""Keys that asked just now are remembered, and forgotten when one is revoked."""

from __future__ import annotations

import pytest

from api.known_keys import REMEMBERED_S, KnownKeys
from pgd_core.errors import Unauthenticated
from pgd_core.jobs.keys import Role
from pgd_core.store import SqlKeyStore


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def store(world):
    return SqlKeyStore(world.services.jobs._engine)


def test_a_key_is_remembered_for_a_few_seconds(store):
    clock = Clock()
    keys = KnownKeys(store, clock)
    key, secret = keys.create("mira", "a", Role.VIEWER)

    assert keys.remembered(secret) is None
    assert keys.holder(secret) == keys.remembered(secret) == key
    clock.now += REMEMBERED_S
    assert keys.remembered(secret) is None


def test_what_is_no_key_is_not_remembered(store):
    keys = KnownKeys(store)

    with pytest.raises(Unauthenticated):
        keys.holder("pgd_nobody")
    assert keys.remembered("pgd_nobody") is None


def test_a_revoked_key_is_forgotten_even_if_it_was_asked_for_at_that_moment(store):
    keys = KnownKeys(store)
    key, secret = keys.create("mira", "a", Role.VIEWER)
    keys.holder(secret)
    keys.revoke(key.id)
    assert keys.remembered(secret) is None

    other, secret = keys.create("noor", "a", Role.VIEWER)
    look = store.holder

    def revoked_meanwhile(secret):
        found = look(secret)
        keys.revoke(other.id)
        return found

    store.holder = revoked_meanwhile
    keys.holder(secret)
    assert keys.remembered(secret) is None


def test_another_process_lets_a_revoked_key_in_for_a_few_seconds_at_most(store):
    clock = Clock()
    keys = KnownKeys(store, clock)
    key, secret = keys.create("mira", "a", Role.VIEWER)
    keys.holder(secret)

    store.revoke(key.id)  # by way of another process

    assert keys.remembered(secret) is not None
    clock.now += REMEMBERED_S
    assert keys.remembered(secret) is None
    with pytest.raises(Unauthenticated, match="revoked"):
        keys.holder(secret)
