"""Settings of a process, from `PGD_` environment variables. Built only in composition roots."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pgd_core.jobs.scheduling import SchedulingRules
from pgd_core.jobs.webhooks import Network


class Settings(BaseSettings):
    """One frozen object; what belongs to a job is in its spec, never here."""

    model_config = SettingsConfigDict(env_prefix="PGD_", frozen=True)

    data_folder: Path = Field(
        Path("pgd-data"), description="Files, attempts, the embedded database."
    )
    database_url: str = Field("", description="SQLAlchemy URL; default: SQLite in the data folder.")
    redis_url: str = Field(
        "", description="Celery's broker; default: the embedded server's socket in the data folder."
    )
    files_url: str = Field(
        "",
        description="Where uploads, teachers and artifacts are kept; default: `files` in the data "
        "folder. A folder that all machines share, or s3://BUCKET/PREFIX.",
    )
    files_cache_bytes: int = Field(
        20 * 2**30, gt=0, description="Size of a machine's cache of files that lie in S3."
    )
    dataset_roots: tuple[Path, ...] = Field(
        (), description="Folders that data sets may be registered from (JSON list)."
    )
    dataset_s3_prefixes: tuple[str, ...] = Field(
        (),
        description="s3://BUCKET/PREFIX that data sets may be fetched from (JSON list); needs "
        "files_url in S3.",
    )
    weights_folder: Path | None = Field(None, description="Where `file:NAME` backbone weights lie.")
    max_upload_bytes: int = Field(4 * 2**30, gt=0, description="Largest upload.")
    max_unfinished_bytes: int = Field(
        16 * 2**30, gt=0, description="Bytes that a team may have in unfinished uploads at once."
    )
    keep_unfinished_h: float = Field(
        24, gt=0, description="Hours an unfinished upload is kept after its last bytes arrived."
    )
    pool: str = Field("default", description="The pool that a worker serves.")
    device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="Device of the trainers.")
    slots: int = Field(
        1,
        ge=1,
        le=256,
        description="Slots of a worker without GPUs: jobs that share its processor.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Workers that `pgd up` starts; they share the processor's cores.",
    )
    lease_s: float = Field(60, gt=0, description="How long a silent worker keeps a job.")
    heartbeat_s: float = Field(
        2, gt=0, description="Time between heartbeats, which bring progress in and cancels out."
    )
    stop_grace_s: float = Field(30, gt=0, description="Time a trainer has to write a checkpoint.")
    reconcile_s: float = Field(15, gt=0, description="Time between the reconciler's rounds.")
    fair_share_half_life_h: float = Field(
        24, gt=0, description="Hours after which used GPU time counts half in a team's share."
    )
    preempt: bool = Field(
        True, description="Whether a job of higher class may stop and requeue one of lower class."
    )
    low_waits_h: float = Field(
        24, gt=0, description="Hours after which a waiting job of class low becomes normal."
    )
    max_attempts: int = Field(3, ge=1, description="Attempts of a job whose worker is lost.")
    max_duration_s: float | None = Field(None, gt=0, description="Longest attempt; none: no limit.")
    stall_s: float | None = Field(
        900, gt=0, description="Time without a sign of life after which a trainer hangs."
    )
    min_free_bytes: int = Field(
        2 * 2**30,
        ge=0,
        description="Free disk below which workers claim nothing and uploads are refused; 0: none.",
    )
    keep_failed_days: float = Field(
        7, ge=0, description="How long a failed job's checkpoints are kept, for another try."
    )
    keep_logs_days: float = Field(
        90, ge=0, description="How long the logs and progress files of an ended job are kept."
    )
    keep_uploads_days: float = Field(
        7,
        ge=0,
        description="How long an upload may be registered as a teacher or a data set; then it is "
        "deleted.",
    )
    rate_limit_per_s: float = Field(
        50,
        ge=0,
        description="Requests a second that each API key may make in the long run; 0: any.",
    )
    rate_limit_burst: int = Field(
        200, ge=1, description="Requests that a key which was quiet may make at once."
    )
    predictions: int = Field(
        2, ge=1, le=64, description="Pictures that an API process has looked at at once."
    )
    prediction_s: float = Field(
        30, gt=0, le=600, description="Longest time that a model may take over a picture."
    )
    prediction_memory_bytes: int = Field(
        4 * 2**30, ge=2**29, description="Address space of the process that looks at a picture."
    )
    max_picture_bytes: int = Field(32 * 2**20, gt=0, description="Largest picture, as a file.")
    max_picture_pixels: int = Field(50_000_000, gt=0, description="Largest picture, unpacked.")
    webhook_sender: bool = Field(
        True, description="Whether the reconciler sends to webhooks, or worker.webhook_sender does."
    )
    webhook_http: bool = Field(False, description="Whether webhooks may do without TLS.")
    webhook_networks: tuple[Network, ...] = Field(
        (), description="Networks beside public addresses that webhooks may lead to (JSON list)."
    )
    metrics_public: bool = Field(
        False, description="Whether /metrics needs no API key; else an operator's."
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port the API listens on.")

    def resolved_database_url(self) -> str:
        """The URL in force."""
        return self.database_url or f"sqlite:///{self.data_folder.resolve() / 'pgd.sqlite'}"

    def scheduling_rules(self) -> SchedulingRules:
        """What the operator decides about the queue's order."""
        return SchedulingRules(
            half_life=timedelta(hours=self.fair_share_half_life_h),
            preempt=self.preempt,
            low_waits=timedelta(hours=self.low_waits_h),
        )

    def resolved_redis_url(self) -> str:
        """The URL in force."""
        return self.redis_url or f"redis+socket://{self.data_folder.resolve() / 'redis.sock'}"
