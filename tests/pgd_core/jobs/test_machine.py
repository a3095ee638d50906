"""Devices: which needs they meet, and which of them a job gets."""

from __future__ import annotations

import itertools

import pytest

from pgd_core.jobs.machine import PRIORITIES, Device, Needs, Priority, chosen, fits, largest, steps

DEVICES = tuple(
    Device(slot, "GPU", f"GPU-{slot}", memory) for slot, memory in enumerate([80, 24, 80, 48])
)
DIVIDED = (
    *DEVICES,
    Device(4, "GPU MIG 4g.40gb", "MIG-4", 40),
    Device(5, "GPU MIG 4g.40gb", "MIG-5", 24),
    Device(6, "GPU MIG 7g.96gb", "MIG-6", 96),
)


@pytest.mark.parametrize(
    ("gpus", "memory", "met"),
    [(4, 0, True), (5, 0, False), (4, 24, True), (4, 25, False), (3, 48, True), (2, 80, True),
     (3, 80, False), (1, 81, False)],
)  # fmt: skip
def test_needs_are_met_by_enough_devices_with_the_memory(gpus, memory, met):
    assert fits(Needs(gpus, memory), DEVICES) == met


def test_nothing_is_met_by_no_devices():
    assert not fits(Needs(), ())
    assert steps(()) == []


def test_a_job_gets_the_smallest_devices_that_do():
    def slots(needs):
        return [device.slot for device in chosen(needs, DEVICES)]

    assert slots(Needs(1)) == [1]
    assert slots(Needs(2)) == [1, 3]
    assert slots(Needs(2, 48)) == [3, 0]
    assert slots(Needs(1, 80)) == [0]


def test_a_mig_instance_serves_jobs_of_one_gpu_and_before_a_gpu_of_its_size():
    def slots(needs):
        return [device.slot for device in chosen(needs, DIVIDED)]

    assert fits(Needs(1, 96), DIVIDED)
    assert not fits(Needs(5), DIVIDED)
    assert slots(Needs(1)) == [5]
    assert slots(Needs(1, 25)) == [4]
    assert slots(Needs(2)) == [1, 3]


def test_the_steps_are_the_most_devices_of_each_memory():
    assert steps(DEVICES) == [Needs(2, 80), Needs(3, 48), Needs(4, 24)]


@pytest.mark.parametrize("devices", [DEVICES, DIVIDED], ids=["whole", "divided"])
def test_needs_lie_within_a_step_exactly_when_the_devices_meet_them(devices):
    for gpus, memory in itertools.product(range(1, 6), range(0, 100, 4)):
        needs = Needs(gpus, memory)
        assert any(needs.within(most) for most in steps(devices)) == fits(needs, devices)


def test_a_class_is_known_by_its_word():
    assert PRIORITIES == {"low": Priority.LOW, "normal": Priority.NORMAL, "high": Priority.HIGH}
    assert Priority.HIGH.word == "high"


def test_the_largest_needs_cover_all_and_none_of_them_another():
    needs = [Needs(*each) for each in [(1, 80), (4, 24), (2, 24), (4, 24), (2, 80), (3, 48)]]

    found = largest(needs)

    assert found == [Needs(4, 24), Needs(3, 48), Needs(2, 80)]
    assert all(any(each.within(most) for most in found) for each in needs)
    assert largest([]) == []
