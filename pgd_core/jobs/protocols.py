"""What the services need of a store and of a file store; `store/` and `files/` implement it.

Every method is one transaction. Times are the database's. `NotFound` for an unknown id,
`LeaseLost` where a claim's token no longer owns its job: the caller must stop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol

from pgd_core.jobs.datasets import DatasetStore
from pgd_core.jobs.forecast import Pool
from pgd_core.jobs.job import (
    Artifact,
    Claim,
    Event,
    Job,
    JobState,
    Reason,
    StopRequest,
    Upload,
)
from pgd_core.jobs.keys import AuditEvent, Key, Role
from pgd_core.jobs.machine import Device, Offer, Placement, PlacementChange, Worker
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import JobSpec
from pgd_core.jobs.teacher_store import TeacherStore
from pgd_core.jobs.teams import Team


@dataclass(frozen=True)
class Orders:
    """What a heartbeat of a job brings back."""

    stop: StopRequest | None = None


@dataclass(frozen=True)
class WorkerOrders:
    """What a heartbeat of a worker brings back."""

    drain: bool  # claim nothing more
    waiting: bool  # its pool has queued jobs


class JobStore(Protocol):
    # Submitting and looking
    def submit(
        self,
        spec: JobSpec,
        placement: Placement = Placement(),  # noqa: B008  frozen
        *,
        max_attempts: int = 3,
        idempotency_key: str | None = None,
        caller: str = "",
        by: str = "",
    ) -> Job:
        """Job and event in one transaction. From the same caller within a day, the same key, spec
        and placement: the first job again; the same key with another spec or placement: Conflict.
        NotFound for the team, QuotaExceeded over its limits, InvalidSpec for a data set or teacher
        that was deleted: none that the spec names can be until the job ends."""

    def submitted_before(
        self, spec: JobSpec, placement: Placement, *, idempotency_key: str | None, caller: str = ""
    ) -> Job | None:
        """The job that `submit` would answer again; Conflict as there."""

    def get(self, job_id: str) -> Job: ...
    def list(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        state: JobState | None = None,
        kind: str | None = None,
        team: str | None = None,
        pool: str | None = None,
    ) -> Sequence[Job]:
        """Newest first; `after` is the last id of the page before."""

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]: ...
    def progress_lines(
        self, job_id: str, *, type: str | None = None, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, ProgressLine]]:
        """(sequence, line), oldest first, of the job's every attempt."""

    def artifacts(self, job_id: str) -> Sequence[Artifact]: ...
    def artifact(self, job_id: str, name: str) -> Artifact: ...

    # What people ask for; `by` says who

    def cancel(self, job_id: str, *, by: str = "") -> Job:
        """Queued or paused: cancelled at once. Leased: a request that the worker obeys. Ended:
        IllegalMove."""

    def pause(self, job_id: str, *, by: str = "") -> Job:
        """Queued: at once. Leased: after a checkpoint. A study: IllegalMove."""

    def resume(self, job_id: str, *, by: str = "") -> Job:
        """Paused: queued again, in its old place."""

    def retry(self, job_id: str, *, by: str = "") -> Job:
        """Failed or cancelled: queued again with all its attempts. One that failed goes on from
        its newest checkpoint, a cancelled one begins anew; a study asks for what failed anew.
        IllegalMove once its data set or a teacher that it names was deleted."""

    def change(self, job_id: str, change: PlacementChange, *, by: str = "") -> Job:
        """Waiting: move it anywhere. Leased: its priority only; else IllegalMove."""

    # A worker's side

    def claim(self, offer: Offer, lease: timedelta) -> tuple[Job, Claim] | None:
        """The next job that the offer serves, by class, the teams' shares, then age; state
        starting, attempt + 1, with all the devices that it needs. None while the worker drains."""

    def started(self, claim: Claim) -> None: ...
    def heartbeat(
        self, claim: Claim, lease: timedelta, lines: Sequence[ProgressLine] = ()
    ) -> Orders:
        """Renew the lease and store new lines of progress."""

    def finish(
        self,
        claim: Claim,
        reason: Reason,
        message: str = "",
        *,
        result: dict[str, Any] | None = None,
        artifacts: Sequence[Artifact] = (),
    ) -> Job:
        """End the attempt as `ENDINGS` says; artifacts, the final state and, where a detector was
        made, its model (`jobs.models`) in one transaction."""

    # The reconciler's side
    def expire_leases(self) -> Sequence[Job]:
        """End attempts whose lease ran out as worker_lost: requeued or failed. A job that cannot
        be ended is told in the log, and holds up no other."""

    def pending_hints(self, *, again_after: timedelta) -> Sequence[str]:
        """The pool of each queued job that was never hinted, or not since `again_after`: one hint
        wakes one worker. Of very many jobs in a pool, some."""

    def hinted(self, pool: str) -> None: ...


class Queue(Protocol):
    """The queue as people see it, and the decisions that no single worker makes."""

    def pools(self) -> Sequence[str]:
        """Those that a worker serves or a job waits in."""

    def pool(self, name: str) -> Pool:
        """All that its order depends on, for `forecast`."""

    def preempt(self) -> Sequence[Job]:
        """Ask jobs of lower class to make room for one of higher class that cannot start; those
        that were asked."""

    def raise_old(self) -> Sequence[Job]:
        """Jobs of class low that have waited too long become normal; those that did."""


class TeamStore(Protocol):
    """Teams, their weights and limits."""

    def put(
        self,
        name: str,
        *,
        weight: float,
        max_running_gpus: int | None,
        max_queued_jobs: int | None,
    ) -> Team:
        """Make or change a team."""

    def teams(self) -> Sequence[Team]: ...
    def waiting_jobs(self, name: str) -> int:
        """How many of its jobs are queued or paused."""


class KeyStore(Protocol):
    """API keys. Of a secret only its SHA-256 is kept."""

    def create(
        self, name: str, team: str, role: Role, *, expires_at: datetime | None = None
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody will see again."""

    def holder(self, secret: str) -> Key:
        """The key of this secret; Unauthenticated where there is none that is good now."""

    def used(self, key_id: str) -> None:
        """Note that it was used now; at most once a minute."""

    def key(self, key_id: str) -> Key: ...
    def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Key]:
        """Newest first, revoked and expired ones among them."""

    def revoke(self, key_id: str) -> Key:
        """Good for nothing from now on; Conflict for the last operator's."""

    def has_operator(self) -> bool:
        """Whether some operator's key is good now."""


class AuditStore(Protocol):
    """The record of what was done through the API; it only grows."""

    def note(
        self,
        *,
        key_id: str,
        key_name: str,
        team: str,
        action: str,
        thing: str,
        details: Mapping[str, Any],
    ) -> None: ...
    def events(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[AuditEvent]:
        """Newest first."""


class WorkerStore(Protocol):
    """Who serves the pools."""

    def announce(self, worker: Worker) -> None: ...
    def beat(self, name: str, troubles: Mapping[int, str] = MappingProxyType({})) -> WorkerOrders:
        """It lives; one that was thought lost is active again. NotFound when it was forgotten."""

    def stopped(self, name: str) -> None: ...
    def shared_folder(self, mark: str) -> str:
        """The mark of the data folder that all processes share: this one, if none was known."""

    def drain(self, name: str) -> Worker:
        """Let it claim nothing more; IllegalMove for one that is gone."""

    def undrain(self, name: str) -> Worker: ...
    def workers(self, *, gone_too: bool = False) -> Sequence[Worker]:
        """By pool and name; those that stopped only with `gone_too`."""

    def worker(self, name: str) -> Worker: ...
    def machines(self, pool: str) -> Sequence[tuple[Device, ...]]:
        """The devices of each worker that served the pool and is not forgotten; of several alike,
        one."""

    def mark_lost(self, silent_for: timedelta) -> Sequence[Worker]:
        """Living ones that were silent for longer are lost; those that were marked."""

    def forget(self, gone_for: timedelta) -> Sequence[str]:
        """Delete those that stopped or were lost, were not seen for longer, and hold no job; their
        names."""


class StudyStore(Protocol):
    """Studies and the jobs that each needs, known to the study by a key."""

    def active(self) -> Sequence[Job]:
        """Studies that have not ended, oldest first."""

    def begin(self, study_id: str) -> Job:
        """Queued: running from now on. Else as it is."""

    def children(self, study_id: str) -> dict[str, Job]:
        """Its jobs by key, oldest first."""

    def adopt(self, study_id: str, key: str, spec: JobSpec) -> Job:
        """The study's job of that key: the one it has, else its team's of the same spec that
        succeeded or still may, else a new one. Conflict once the study has ended or is to be
        cancelled, and where the new one's teacher was deleted just now; InvalidSpec where what the
        study itself names was."""

    def tell(self, study_id: str, progress: Mapping[str, Any]) -> None:
        """How far it is, in the words of a `ProgressLine`."""

    def end(
        self,
        study_id: str,
        reason: Reason,
        message: str = "",
        *,
        result: dict[str, Any] | None = None,
        artifacts: Sequence[Artifact] = (),
    ) -> Job:
        """End it as `ENDINGS` says; artifacts and the final state in one transaction."""

    def children_of_no_other(self, study_id: str) -> Sequence[Job]:
        """Its unfinished jobs that no other unfinished study needs."""


class LibraryStore(DatasetStore, TeacherStore, Protocol):
    """Data sets, teachers and uploads."""

    def add_upload(self, upload: Upload) -> None: ...
    def upload(self, upload_id: str) -> Upload: ...


class FileStore(Protocol):
    """Blobs by key; a key is made of ids and fixed names only, never of a client's string."""

    def put(self, key: str, source: Path) -> tuple[int, str]:
        """Move a file in, whole or not at all; `source` is gone. Returns (size, sha256)."""

    def open(self, key: str) -> BinaryIO: ...
    def path(self, key: str) -> Path:
        """The file on this machine (fetched first where the store is remote)."""

    def keys(self, folder: str) -> Sequence[str]:
        """Of the files that lie right in the folder."""

    def delete(self, key: str) -> None: ...

    def link(self, key: str, filename: str, media_type: str, valid_for: timedelta) -> str | None:
        """Where anyone may download the file for a while, without this service; None where the
        store has no such links."""

    def check(self) -> str:
        """That the store serves, in a few words; raises where it does not."""

    def walk(self, folder: str) -> Iterator[StoredFile]:
        """Every whole file at any depth below the folder, in no certain order; what is put or
        deleted meanwhile may or may not be among them. No such folder: none."""

    def forget_unfinished(self, older_than: timedelta) -> int:
        """Delete what is left of puts that broke off, begun longer ago; bytes freed."""


@dataclass(frozen=True)
class StoredFile:
    """A file in the file store."""

    key: str
    size: int  # bytes
    put_at: datetime  # when it was put there, however old its content; the store's clock


class HousekeepingStore(Protocol):
    """What the database knows of files that were found; by batches, however many they are."""

    def now(self) -> datetime: ...
    def jobs(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Those that exist."""

    def owners(self, ids: Collection[str]) -> set[str]:
        """Those that are ids of jobs, teachers, data sets or uploads."""

    def datasets(self, ids: Collection[str]) -> set[str]:
        """Those that are ids of data sets."""

    def named_keys(self, owner_ids: Collection[str]) -> set[str]:
        """The keys of files that rows of these jobs, teachers, data sets and uploads name."""

    def spent_uploads(self, upload_ids: Collection[str], kept: timedelta) -> set[str]:
        """Those that arrived longer ago than `kept`, and of which nothing is being checked."""
