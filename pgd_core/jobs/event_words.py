"""A job's history in sentences that a stranger can read: who did what, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pgd_core.jobs.job import Event
from pgd_core.jobs.machine import Priority

Data = Mapping[str, Any]
_WHO = {
    "": "somebody",
    "api": "a caller of the API",
    "reconciler": "the reconciler",
    "scheduler": "the scheduler",
    "study driver": "the study driver",
}


def sentence_of(event: Event) -> str:
    """What happened."""
    who = _WHO.get(event.by, event.by)
    tell = _TOLD.get(event.kind)
    return tell(who, event.data) if tell is not None else _anything(event.kind, who, event.data)


def _submitted(by: str, data: Data) -> str:
    if "team" not in data:  # before there were teams
        return f"{by} submitted it"
    devices = _gpus(data.get("gpus"), data.get("min_memory_mb"))
    where = f"pool {data.get('pool')}, class {data.get('priority')}, {devices}"
    return f"{by} submitted it for team {data['team']}: {where}"


def _claimed(by: str, data: Data) -> str:
    slots, devices = data.get("slots") or [], sorted(set(data.get("devices") or []))
    told = f"{by} took it for attempt {data.get('attempt')}"
    if not slots:
        return told
    word = "slots" if len(slots) > 1 else "slot"
    return f"{told}, on {word} {', '.join(map(str, slots))} ({', '.join(map(str, devices))})"


def _started(by: str, data: Data) -> str:
    return f"{by} started attempt {data['attempt']}" if "attempt" in data else f"{by} began it"


def _requeued(by: str, data: Data) -> str:
    return f"{_ended(by, data)}; it is queued again{_used_up(data)}"


def _paused(by: str, data: Data) -> str:
    return f"{_ended(by, data)}; it is paused" if "attempt" in data else f"{by} paused it"


def _succeeded(by: str, data: Data) -> str:
    return f"{by} finished attempt {data.get('attempt')}: the job has succeeded"


def _failed(by: str, data: Data) -> str:
    return f"{_ended(by, data)}; the job has failed{_used_up(data)}"


def _cancelled(by: str, data: Data) -> str:
    return f"{_ended(by, data)}; it is cancelled" if "attempt" in data else f"{by} cancelled it"


def _preempt_requested(by: str, data: Data) -> str:
    return f"{by} asked its worker to make room{_because(data.get('why'))}"


def _retried(by: str, data: Data) -> str:
    reason = str(data.get("after") or "it ended").replace("_", " ")
    told = f"{by} asked to try it again after: {reason}"
    attempt = data.get("goes_on_from_attempt")
    return f"{told}; it goes on from what attempt {attempt} left" if attempt else told


def _changed(by: str, data: Data) -> str:
    steps = [
        f"{name.replace('_', ' ')} from {_value(name, step['from'])} to {_value(name, step['to'])}"
        for name, step in data.items()
    ]
    return f"{by} changed its {' and its '.join(steps)}"


def _child_submitted(by: str, data: Data) -> str:
    return f"{by} submitted its job {data.get('job')}{_named(data)}"


def _child_reused(by: str, data: Data) -> str:
    return f"{by} found its job {data.get('job')}{_named(data)}: it had been asked for before"


def _anything(kind: str, by: str, data: Data) -> str:
    told = ", ".join(f"{name} {value}" for name, value in data.items())
    return f"{kind.replace('_', ' ')} by {by}{_because(told)}"


_TOLD: dict[str, Callable[[str, Data], str]] = {
    "submitted": _submitted,
    "claimed": _claimed,
    "started": _started,
    "requeued": _requeued,
    "paused": _paused,
    "succeeded": _succeeded,
    "failed": _failed,
    "cancelled": _cancelled,
    "cancel_requested": lambda by, _: f"{by} asked its worker to cancel it",
    "pause_requested": lambda by, _: f"{by} asked its worker to pause it",
    "preempt_requested": _preempt_requested,
    "resumed": lambda by, _: f"{by} resumed it: it is queued again, in its old place",
    "retried": _retried,
    "changed": _changed,
    "child_submitted": _child_submitted,
    "child_reused": _child_reused,
}
KINDS = tuple(_TOLD)


def _ended(by: str, data: Data) -> str:
    reason = str(data.get("reason") or "no reason").replace("_", " ")
    return f"{by} ended attempt {data.get('attempt')}, {reason}{_because(data.get('message'))}"


def _because(why: object) -> str:
    return f" ({' '.join(str(why).split())})" if why else ""


def _used_up(data: Data) -> str:
    if "failures" not in data:
        return ""
    return f"; {data['failures']} of {data.get('max_attempts')} attempts are used up"


def _gpus(gpus: object, min_memory_mb: object) -> str:
    told = f"{gpus} GPU" if gpus == 1 else f"{gpus} GPUs"
    return f"{told} of at least {min_memory_mb} MiB" if min_memory_mb else told


def _value(name: str, value: object) -> object:
    return Priority(value).word if name == "priority" and isinstance(value, int) else value


def _named(data: Data) -> str:
    return f" ({data['name']})" if data.get("name") else ""
