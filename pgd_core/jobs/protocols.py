"""What the services need of a store and of a file store; `store/` and `files/` implement it.

Every method is one transaction. Times are the database's. `NotFound` for an unknown id,
`LeaseLost` where a claim's token no longer owns its job: the caller must stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pgd_core.jobs.job import (
    Artifact,
    Claim,
    Dataset,
    Event,
    Job,
    JobState,
    Reason,
    Teacher,
    Upload,
)
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import DetectorSpec, JobSpec


@dataclass(frozen=True)
class Orders:
    """What a heartbeat brings back."""

    cancel: bool


class JobStore(Protocol):
    # Submitting and looking
    def submit(
        self,
        spec: JobSpec,
        *,
        pool: str = "default",
        priority: int = 0,
        max_attempts: int = 3,
        idempotency_key: str | None = None,
    ) -> Job:
        """Job, event and hint in one transaction. The same key and spec: the first job again; the
        same key with another spec: Conflict."""

    def get(self, job_id: str) -> Job: ...
    def list(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        state: JobState | None = None,
        kind: str | None = None,
    ) -> Sequence[Job]:
        """Newest first; `after` is the last id of the page before."""

    def queue_positions(self, job_ids: Sequence[str]) -> dict[str, int]:
        """1 for the next job of its pool; those that are not queued are left out."""

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]: ...
    def progress_lines(
        self, job_id: str, *, type: str | None = None, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, ProgressLine]]:
        """(sequence, line), oldest first, of the job's every attempt."""

    def artifacts(self, job_id: str) -> Sequence[Artifact]: ...
    def artifact(self, job_id: str, name: str) -> Artifact: ...
    def cancel(self, job_id: str) -> Job:
        """Queued or paused: cancelled at once. Leased: a flag that the worker obeys. Ended:
        IllegalMove."""

    # A worker's side
    def claim(self, worker: str, pool: str, lease: timedelta) -> tuple[Job, Claim] | None:
        """The next job of the pool by priority, then age; state starting, attempt + 1."""

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
        """End the attempt as `ENDINGS` says; artifacts and the final state in one transaction."""

    # The reconciler's side
    def expire_leases(self) -> Sequence[Job]:
        """End attempts whose lease ran out as worker_lost: requeued or failed."""

    def pending_hints(self, *, again_after: timedelta) -> Sequence[str]:
        """The pool of each queued job that was never hinted, or not since `again_after`: one hint
        wakes one worker. Of very many jobs in a pool, some."""

    def hinted(self, pool: str) -> None: ...


class StudyStore(Protocol):
    """Studies and the jobs that each needs, known to the study by a key."""

    def active(self) -> Sequence[Job]:
        """Studies that have not ended, oldest first."""

    def begin(self, study_id: str) -> Job:
        """Queued: running from now on. Else as it is."""

    def children(self, study_id: str) -> dict[str, Job]:
        """Its jobs by key, oldest first."""

    def adopt(self, study_id: str, key: str, spec: JobSpec) -> Job:
        """The study's job of that key: the one it has, else one of the same spec that succeeded
        or still may, else a new one. Conflict once the study has ended or is to be cancelled."""

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


class LibraryStore(Protocol):
    """Data sets, teachers and uploads."""

    def add_dataset(
        self,
        name: str,
        train_annotations: str,
        train_images: str,
        val_annotations: str,
        val_images: str,
    ) -> Dataset: ...
    def dataset(self, dataset_id: str) -> Dataset: ...
    def datasets(self, *, after: str | None = None, limit: int = 50) -> Sequence[Dataset]: ...
    def datasets_to_check(self) -> Sequence[Dataset]: ...
    def dataset_checked(
        self,
        dataset_id: str,
        *,
        usable: bool,
        report: dict[str, Any],
        sha256: str,
        classes: Sequence[str],
    ) -> None: ...

    def add_upload(self, upload: Upload) -> None: ...
    def upload(self, upload_id: str) -> Upload: ...

    def add_teacher(
        self,
        name: str,
        model: DetectorSpec,
        classes: Sequence[str],
        *,
        source_job: str | None = None,
        upload: str | None = None,
        key: str = "",
        sha256: str = "",
    ) -> Teacher:
        """Ready at once when `key` is given (a finished job's weights), else checking."""

    def teacher(self, teacher_id: str) -> Teacher: ...
    def teacher_of_job(self, job_id: str) -> Teacher | None:
        """The first ready teacher that was registered from this job."""

    def teachers(self, *, after: str | None = None, limit: int = 50) -> Sequence[Teacher]: ...
    def teachers_to_check(self) -> Sequence[Teacher]: ...
    def teacher_checked(
        self, teacher_id: str, *, key: str = "", sha256: str = "", message: str = ""
    ) -> None:
        """Ready with `key` and `sha256`, or rejected with `message`."""


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
