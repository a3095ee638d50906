"""The trainer's contract: the file it is given, the lines it appends, the folder it leaves.

    FOLDER/run.json        in: RunSpec
    FOLDER/stop            in: once it exists, write a checkpoint and end
    FOLDER/alive           out: touched once the trainer is loaded, and then as it works, at most
                           once a second
    FOLDER/progress.jsonl  out: one `ProgressLine` a line
    FOLDER/work/           out: checkpoints to resume from
    FOLDER/outputs/        out: what is published; complete only with outcome `succeeded`
    FOLDER/outcome.json    out: `Outcome`, written last; of several processes, the first to fail

The trainer is `python -m pgd_core.training FOLDER/run.json FOLDER`; it knows no database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from pgd_core.jobs.spec import DetectorSpec, InputSpec, JobSpec, Strict, TrainJob

RUN_FILE = "run.json"
STOP_FILE = "stop"
ALIVE_FILE = "alive"
PROGRESS_FILE = "progress.jsonl"
OUTCOME_FILE = "outcome.json"
LOG_FILE = "trainer.log"
# Of a trainer that cannot write its outcome: its disk has no room, or fails.
NO_ROOM_EXIT, STORAGE_FAULT_EXIT = 4, 5
OUTPUTS_FOLDER = "outputs"
WORK_FOLDER = "work"


class DatasetFiles(Strict):
    """A checked COCO or CrowdHuman data set on this machine."""

    train_annotations: Path
    train_images: Path
    val_annotations: Path
    val_images: Path
    classes: tuple[str, ...]  # in the order of the category ids
    sha256: str
    crowdhuman_val: Path | None = None  # the odgt rows that val_annotations was made from

    @property
    def family(self) -> Literal["coco", "crowdhuman"]:
        """Whose annotations these are, and so whose metrics count."""
        is_crowdhuman = self.crowdhuman_val or self.val_annotations.suffix.lower() == ".odgt"
        return "crowdhuman" if is_crowdhuman else "coco"

    @property
    def max_detections(self) -> int:
        """The most boxes a detector returns for a picture."""
        return 500 if self.family == "crowdhuman" else 100


class TeacherFile(Strict):
    """A registered teacher on this machine."""

    weights: Path  # safetensors
    sha256: str
    model: DetectorSpec
    classes: tuple[str, ...]


class RunSpec(Strict):
    """Everything one attempt needs, ids resolved to files."""

    job: JobSpec
    dataset: DatasetFiles
    teacher: TeacherFile | None = None
    weights_folder: Path | None = None  # where `file:NAME` backbone weights lie
    earlier_attempts: tuple[Path, ...] = ()  # folders to resume from, newest first
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def input(self) -> InputSpec:
        """How the job's pictures come in."""
        return self.job.input or InputSpec()

    @model_validator(mode="after")
    def _teacher_is_there(self) -> RunSpec:
        if self.teacher is None and not isinstance(self.job, TrainJob):
            raise ValueError(f"a job of kind {self.job.kind!r} needs a teacher; give its file")
        return self


class ProgressLine(BaseModel):
    """One line of progress.jsonl."""

    type: Literal["train", "validation", "stage"]
    at: str  # ISO 8601, UTC
    variant: str = ""  # detector | distilled | plain | head_only | teacher
    message: str = ""  # a stage, for people
    iteration: int = 0  # within the variant
    total_iterations: int = 0
    epoch: float = 0.0
    done: float = Field(0.0, ge=0, le=1)  # of the whole job, twins and evaluation included
    eta_s: float | None = None  # of the whole job
    losses: dict[str, float] = {}
    distillation_losses: dict[str, float] = {}
    learning_rate: float | None = None
    grad_norm: float | None = None
    memory_mb: float | None = None
    images_per_s: float | None = None
    metrics: dict[str, Any] = {}

    @property
    def says_how_far(self) -> bool:
        """Whether the job's own progress follows it: a step of training, or a measured stage."""
        return self.type == "train" or (self.type == "stage" and self.done > 0)


class Outcome(BaseModel):
    """How an attempt ended, by the trainer's own word."""

    status: Literal["succeeded", "failed", "stopped"]
    reason: str  # `jobs.job.Reason`
    message: str = ""
    result: dict[str, Any] = {}  # of the job, when it succeeded: metrics.json
