"""A worker's devices among its threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgd_core.jobs.machine import Device
from worker.slots import Slots

DEVICES = tuple(Device(slot, "GPU", f"GPU-{slot}", 80) for slot in (0, 1, 2))


def numbers(devices):
    return [device.slot for device in devices]


def test_what_is_held_is_not_free_until_it_is_released():
    slots = Slots(DEVICES)

    held = slots.hold([2, 0])

    assert numbers(held) == [0, 2]
    assert numbers(slots.free()) == [1]
    slots.release(held)
    assert slots.free() == DEVICES


def test_a_device_that_somebody_else_uses_is_free_but_not_usable():
    slots = Slots(DEVICES, lambda free: {d.slot: "a stranger" for d in free if d.slot == 1})

    assert numbers(slots.usable()) == [0, 2]
    assert slots.troubles() == {1: "a stranger"}
    with slots.claiming() as free:
        assert numbers(free) == [0, 2]


def test_of_devices_that_our_own_jobs_hold_nobody_asks():
    asked = []
    slots = Slots(DEVICES, lambda free: asked.extend(numbers(free)) or {})
    slots.hold([0, 2])

    slots.usable()

    assert asked == [1]


def test_devices_that_rest_are_free_but_not_usable_until_a_job_succeeds_on_them():
    slots = Slots(DEVICES)
    slots.rest("its GPU is broken", DEVICES[:1])
    assert numbers(slots.usable()) == [1, 2]
    [words] = slots.troubles().values()
    assert words.startswith("its GPU is broken")

    slots.rest("the storage is away")
    assert slots.usable() == ()
    assert numbers(slots.free()) == [0, 1, 2]
    slots.worked(DEVICES[1:])
    assert numbers(slots.usable()) == [1, 2]


def test_no_device_is_held_twice():
    slots = Slots(DEVICES)
    slots.hold([1])

    with pytest.raises(AssertionError, match="twice"):
        slots.hold([0, 1])
    assert numbers(slots.free()) == [0, 2]


def test_one_thread_claims_at_a_time_and_none_sees_what_another_took():
    slots = Slots(DEVICES)
    inside, most, lock = 0, 0, threading.Lock()

    def take(_):
        nonlocal inside, most
        with slots.claiming() as free:
            with lock:
                inside += 1
                most = max(most, inside)
            held = slots.hold(numbers(free[:1]))
            with lock:
                inside -= 1
            return numbers(held)

    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(take, range(8)))

    assert most == 1
    assert sorted(slot for held in taken for slot in held) == [0, 1, 2]


def test_a_claim_that_breaks_lets_the_next_one_in():
    slots = Slots(DEVICES)
    with pytest.raises(OSError, match="away"), slots.claiming():
        raise OSError("the database is away")

    with slots.claiming() as free:
        assert free == DEVICES
