"""Every line of a job's history is a sentence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgd_core.jobs.event_words import sentence_of
from pgd_core.jobs.job import Event


def told(kind, by="worker-1", **data):
    return sentence_of(Event(1, "a job", datetime.now(UTC), kind, data, by))


PLACE = {"pool": "big", "team": "vision", "priority": "high", "gpus": 2, "min_memory_mb": 40_000}
LOST = {"attempt": 2, "reason": "worker_lost", "message": "worker-1 was\nsilent"}


@pytest.mark.parametrize(
    ("kind", "by", "data", "sentence"),
    [
        (
            "submitted",
            "api",
            PLACE,
            "a caller of the API submitted it for team vision: pool big, class high, "
            "2 GPUs of at least 40000 MiB",
        ),
        (
            "submitted",
            "mira",
            PLACE | {"gpus": 1, "min_memory_mb": 0},
            "mira submitted it for team vision: pool big, class high, 1 GPU",
        ),
        ("submitted", "", {"priority": 3}, "somebody submitted it"),
        (
            "claimed",
            "worker-1",
            {"attempt": 1, "slots": [0, 3], "devices": ["H100", "H100"]},
            "worker-1 took it for attempt 1, on slots 0, 3 (H100)",
        ),
        ("claimed", "worker-1", {"attempt": 2}, "worker-1 took it for attempt 2"),
        ("started", "worker-1", {"attempt": 1}, "worker-1 started attempt 1"),
        ("started", "study driver", {}, "the study driver began it"),
        (
            "requeued",
            "reconciler",
            LOST | {"failures": 1, "max_attempts": 3},
            "the reconciler ended attempt 2, worker lost (worker-1 was silent); it is queued "
            "again; 1 of 3 attempts are used up",
        ),
        (
            "requeued",
            "worker-1",
            {"attempt": 2, "reason": "preempted", "message": ""},
            "worker-1 ended attempt 2, preempted; it is queued again",
        ),
        (
            "requeued",
            "worker-1",
            {"attempt": 2, "reason": "worker_trouble", "message": "the storage is away"},
            "worker-1 ended attempt 2, worker trouble (the storage is away); it is queued again",
        ),
        (
            "failed",
            "worker-1",
            {"attempt": 1, "reason": "diverged", "message": "loss_cls is NaN"},
            "worker-1 ended attempt 1, diverged (loss_cls is NaN); the job has failed",
        ),
        (
            "succeeded",
            "worker-1",
            {"attempt": 1, "reason": "completed", "message": ""},
            "worker-1 finished attempt 1: the job has succeeded",
        ),
        ("cancelled", "mira", {"reason": "cancelled_by_user"}, "mira cancelled it"),
        (
            "cancelled",
            "worker-1",
            {"attempt": 1, "reason": "cancelled_by_user", "message": "on request"},
            "worker-1 ended attempt 1, cancelled by user (on request); it is cancelled",
        ),
        ("paused", "mira", {"reason": "paused_by_user"}, "mira paused it"),
        (
            "paused",
            "worker-1",
            {"attempt": 1, "reason": "paused_by_user", "message": ""},
            "worker-1 ended attempt 1, paused by user; it is paused",
        ),
        ("cancel_requested", "mira", {}, "mira asked its worker to cancel it"),
        ("pause_requested", "mira", {}, "mira asked its worker to pause it"),
        (
            "preempt_requested",
            "scheduler",
            {"why": "job 7 of class high needs its GPUs"},
            "the scheduler asked its worker to make room (job 7 of class high needs its GPUs)",
        ),
        ("resumed", "mira", {}, "mira resumed it: it is queued again, in its old place"),
        (
            "retried",
            "mira",
            {"after": "out_of_memory", "goes_on_from_attempt": 2},
            "mira asked to try it again after: out of memory; it goes on from what attempt 2 left",
        ),
        (
            "retried",
            "mira",
            {"after": "cancelled_by_user"},
            "mira asked to try it again after: cancelled by user",
        ),
        (
            "changed",
            "mira",
            {"pool": {"from": "default", "to": "big"}, "priority": {"from": 0, "to": 1}},
            "mira changed its pool from default to big and its priority from normal to high",
        ),
        (
            "child_submitted",
            "study driver",
            {"job": "7", "name": "fgd, seed 1"},
            "the study driver submitted its job 7 (fgd, seed 1)",
        ),
        (
            "child_reused",
            "study driver",
            {"job": "7", "name": ""},
            "the study driver found its job 7: it had been asked for before",
        ),
        ("moved_house", "mira", {"to": "Rome"}, "moved house by mira (to Rome)"),
    ],
)
def test_each_kind_of_line_has_its_sentence(kind, by, data, sentence):
    assert told(kind, by, **data) == sentence
