"""A pool with workers, teams and a clock that is set, for the tests of the queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Engine, select, update

from pgd_core.jobs.job import Claim, Job, Reason
from pgd_core.jobs.machine import Device, Needs, Offer, Placement, Priority, Worker
from pgd_core.jobs.scheduling import SchedulingRules
from pgd_core.jobs.spec import TrainJob
from pgd_core.store import SqlJobStore, SqlQueue, SqlTeamStore, SqlWorkerStore
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow, TeamRow, WorkerRow

LEASE = timedelta(hours=100)


class Cluster:
    """The stores, with what tests do to them in a word."""

    def __init__(self, engine: Engine, spec: TrainJob) -> None:
        self.engine, self.spec = engine, spec
        rules = SchedulingRules()
        self.jobs, self.queue = SqlJobStore(engine, rules), SqlQueue(engine, rules)
        self.teams, self.workers = SqlTeamStore(engine), SqlWorkerStore(engine)
        self._devices: dict[str, tuple[Device, ...]] = {}

    def team(self, name: str, weight: float = 1.0, *, running=None, queued=None) -> str:
        self.teams.put(name, weight=weight, max_running_gpus=running, max_queued_jobs=queued)
        return name

    def worker(self, name: str, memories: Sequence[int] | int = 1, pool: str = "default") -> str:
        """With a GPU for each memory, or so many GPUs."""
        of = [80] * memories if isinstance(memories, int) else memories
        devices = tuple(Device(slot, "GPU", f"GPU-{slot}", mb) for slot, mb in enumerate(of))
        self._devices[name] = devices
        self.workers.announce(Worker(name, "host", 1, pool, devices, {"pgd": "0"}))
        return name

    def submit(
        self, team="default", gpus=1, *, memory=0, priority=0, pool="default", kind=None
    ) -> str:
        placement = Placement(pool, team, Priority(priority), Needs(gpus, memory))
        job = self.jobs.submit(self.spec, placement, by="ann")
        if kind is not None:
            with writing(self.engine) as session:
                session.execute(update(JobRow).where(JobRow.id == job.id).values(kind=kind))
        return job.id

    def offer(self, worker: str, pool: str = "default", without: Sequence[int] = ()) -> Offer:
        """What is free on the worker, but for devices that strangers use."""
        held = {
            slot for job in self.jobs.list(limit=1000) if job.worker == worker for slot in job.slots
        }
        gone = held | set(without)
        free = tuple(device for device in self._devices[worker] if device.slot not in gone)
        return Offer(worker, pool, free)

    def claim(self, worker: str, **options) -> tuple[Job, Claim] | None:
        return self.jobs.claim(self.offer(worker, **options), LEASE)

    def run(self, worker: str) -> Claim:
        """Claim the next job and start it."""
        claimed = self.claim(worker)
        assert claimed is not None
        self.jobs.started(claimed[1])
        return claimed[1]

    def claimed(self, worker: str, **options) -> str | None:
        """The id of the job that the worker gets."""
        taken = self.claim(worker, **options)
        return None if taken is None else taken[0].id

    def run_for(self, worker: str, hours: float) -> str:
        """Run the next job to its end."""
        claim = self.run(worker)
        self.pass_time(hours)
        self.jobs.finish(claim, Reason.COMPLETED)
        return claim.job_id

    def pass_time(self, hours: float) -> None:
        """As if so much time had gone by: all times that the order looks at lie further back."""
        by = timedelta(hours=hours)
        with writing(self.engine) as session:
            for row in session.execute(select(JobRow.id, JobRow.claimed_at)).all():
                if row.claimed_at is not None:
                    job = update(JobRow).where(JobRow.id == row.id)
                    session.execute(job.values(claimed_at=row.claimed_at - by))
            for table in (TeamRow.used_at, WorkerRow.seen_at):
                for name, at in session.execute(select(table.class_.name, table)).all():
                    owner = update(table.class_).where(table.class_.name == name)
                    session.execute(owner.values({table.key: at - by}))
