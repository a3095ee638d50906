"""What must hold of a job, whatever happened to it."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from typing import Any

from pgd_core.jobs.job import FINAL_STATES, Event, Job, JobState
from tests.end_to_end.faults.service import Service, wait_for
from tests.end_to_end.faults.trainer import KEPT, Plan, chain
from worker.processes import MARKER, _find

# An attempt's last line: who was claimed for has left again.
ENDINGS = {"requeued", "paused", "succeeded", "failed", "cancelled"}
# What processes do; whoever calls the API without a name has none.
BY_PROCESSES = {"claimed", "started", "requeued", "succeeded", "failed", "preempt_requested"}
OUTPUTS = ["metrics.json", "student.safetensors"]


def problems(service: Service, job: Job) -> dict[str, list[str]]:
    """By kind, what is wrong with a job that has ended; nothing else may be under way."""
    job = service.get(job)
    events = service.jobs.events(job.id)
    found = {
        "left running": _still_held(job) + _living(job),
        "run twice at once": _overlaps(service, job),
        "wrong checksums": _wrong_files(service, job),
        "wrong results": _wrong_result(job),
        "lost work": _lost_steps(service, job),
        "broken histories": _broken_history(job, events),
        "files left": _left_files(service, job),
    }
    return {kind: told for kind, told in found.items() if told}


def check(
    service: Service,
    job: Job,
    state: str = JobState.SUCCEEDED,
    *,
    reason: str | None = None,
    attempts: int | None = None,
    swept: bool = False,
) -> Job:
    """The job once it has ended in that state, with nothing wrong about it; `swept`: after the
    hourly sweep, where no worker of the job's was there to tidy up."""
    ended = service.until_ended(job)
    if swept:
        service.sweep_later()
    story = "\n".join(map(str, service.jobs.events(job.id)))
    assert ended.state == state, story
    assert reason is None or ended.reason == reason, story
    assert attempts is None or ended.attempt == attempts, story
    wait_for(lambda: not _living(ended) and not _left_files(service, ended))
    assert problems(service, ended) == {}, story
    return ended


def _still_held(job: Job) -> list[str]:
    held = (job.lease_token, job.worker, job.slots or None, job.stop_requested, job.claimed_at)
    if job.state not in FINAL_STATES or job.finished_at is None:
        return [f"{job.id} is {job.state}"]
    return [f"{job.id} still has {held}"] if any(held) else []


def _living(job: Job) -> list[str]:
    """Processes of any attempt."""
    mark = f"{job.id}/"
    found = _find(lambda process: process.environ().get(MARKER, "").startswith(mark))
    return [f"{job.id}: process {process.pid}" for process in found]


def _overlaps(service: Service, job: Job) -> list[str]:
    notes = service.ledger(job)
    return [f"{job.id}/{n['attempt']}" for n in notes if n["what"] == "overlap"]


def _wrong_files(service: Service, job: Job) -> list[str]:
    """One winner's artifacts, all of them, and the bytes that the rows promise."""
    artifacts = service.jobs.artifacts(job.id)
    if job.state is not JobState.SUCCEEDED:
        return [f"{job.id} is {job.state} and has {artifact.key}" for artifact in artifacts]
    wrong = [f"{a.key} is of another attempt" for a in artifacts if a.attempt != job.attempt]
    if [artifact.name for artifact in artifacts] != OUTPUTS:
        wrong.append(f"{job.id} has {artifacts}")
    for artifact in artifacts:
        content = service.files.path(artifact.key).read_bytes()
        if (len(content), hashlib.sha256(content).hexdigest()) != (artifact.size, artifact.sha256):
            wrong.append(f"{artifact.key} is not what its row says")
    return wrong


def _wrong_result(job: Job) -> list[str]:
    if job.state is not JobState.SUCCEEDED:
        return []
    plan = Plan.of(job.name)
    right = chain(plan, plan.steps)
    return [] if job.result == {"chain": right} else [f"{job.id}: {job.result}"]


def _lost_steps(service: Service, job: Job) -> list[str]:
    """Each attempt goes on from the newest checkpoint that was left whole before it."""
    lost: list[str] = []
    whole: dict[int, list[int]] = {}  # steps of checkpoints by attempt; it keeps its last few
    for note in service.ledger(job):
        attempt, step = note["attempt"], note["step"]
        kept = whole.setdefault(attempt, [])
        if note["what"] == "checkpoint":
            whole[attempt] = [*kept, step][-KEPT:]
        elif note["what"] == "damaged":
            whole[attempt] = [other for other in kept if other != step]
        elif note["what"] == "resumed":
            newest = max((step for steps in whole.values() for step in steps), default=0)
            if step < newest:
                lost.append(f"{job.id}/{attempt} went on from {step}, not {newest}")
    return lost


def _broken_history(job: Job, events: Any) -> list[str]:
    wrong = []
    if [event.sequence for event in events] != list(range(1, len(events) + 1)):
        wrong.append(f"{job.id}: numbers {[event.sequence for event in events]}")
    if not events or events[0].kind != "submitted" or events[-1].kind != str(job.state):
        wrong.append(f"{job.id}: begins or ends wrongly: {[event.kind for event in events]}")
    if any(later.at < earlier.at for earlier, later in pairwise(events)):
        wrong.append(f"{job.id}: time runs backwards")
    wrong += [
        f"{job.id}: nobody did {e.kind}" for e in events if e.kind in BY_PROCESSES and not e.by
    ]
    return wrong + _unended_attempts(job, events)


def _unended_attempts(job: Job, events: list[Event]) -> list[str]:
    """Each claim is followed by its own ending, which has a reason, before the next claim."""
    running, attempts = 0, []
    for event in events:
        if event.kind == "claimed":
            attempts.append(event.data["attempt"])
            if running:
                return [f"{job.id}: attempt {running} has no ending"]
            running = event.data["attempt"]
        elif event.kind in ENDINGS:
            if not event.data.get("reason"):
                return [f"{job.id}: {event.kind} without a reason"]
            if running and event.data.get("attempt") != running:
                return [f"{job.id}: {event.kind} is not of attempt {running}"]
            running = 0
    told = attempts == list(range(1, job.attempt + 1)) and not running
    return [] if told else [f"{job.id}: attempts {attempts}, {job.attempt} by the job"]


def _left_files(service: Service, job: Job) -> list[str]:
    """Files of nobody: half of a put, outputs that did not win, checkpoints of what succeeded."""
    registered = {artifact.key for artifact in service.jobs.artifacts(job.id)}
    stored = {file.key for file in service.files.walk(f"jobs/{job.id}")}
    left = sorted(stored - registered)
    attempts = service.data / "attempts" / job.id
    patterns = ["*/outputs"]
    if job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
        patterns.append("*/work")
    left += [str(path) for pattern in patterns for path in attempts.glob(pattern)]
    walked = os.walk(service.data / "files")  # unlike rglob it minds no folder that goes away
    left += [name for _, _, names in walked for name in names if name.startswith(".unfinished-")]
    return left


def story(service: Service, job: Job) -> list[str]:
    """The kinds of a job's events, for a test to name what a stranger would read."""
    return [event.kind for event in service.jobs.events(job.id)]
