"""How long a job will take, from what earlier jobs like it took.

Work is the pictures that go through a detector times their padded pixels: a training picture counts
3 (forward, and twice as much backward), one more where a teacher looks too, a picture of a
validation 1. The pace, seconds for a unit of work on one GPU, is the median over earlier jobs of
the same kind, detector and backbone, waits and pauses left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from pgd_core.jobs.advice import DEFAULT_EPOCHS, steps_of
from pgd_core.jobs.data_facts import DataFacts
from pgd_core.jobs.memory import padded_pixels
from pgd_core.jobs.spec import DistillJob, EvaluateJob, JobSpec, TrainingSpec, TrainJob


def work_of(spec: JobSpec, facts: DataFacts) -> float | None:
    """Units of work; None where the kind, or a data set without counts, does not tell."""
    if isinstance(spec, EvaluateJob):
        return facts.val_images * padded_pixels(spec.input) or None
    if not isinstance(spec, TrainJob | DistillJob) or not facts.with_objects:
        return None
    pictures = steps_of(spec.training, facts.with_objects) * spec.training.batch_size
    trained = 3.0 * pictures
    looked_at = float(facts.val_images * _validations(spec.training, pictures / facts.with_objects))
    if isinstance(spec, DistillJob):
        students = 1 + len(spec.twins)
        trained = trained * students + (pictures if spec.method.distils else 0)
        looked_at = looked_at * students + (facts.val_images if spec.measure_teacher else 0)
    return (trained + looked_at) * padded_pixels(spec.input)


def expected_s(
    work: float,
    earlier: Iterable[tuple[float, float]],  # (GPU seconds, work) of jobs like it
    gpus: int,
) -> float | None:
    """Seconds on so many GPUs, taken to share the work evenly; None without earlier jobs."""
    paces = [taken / done for taken, done in earlier if taken > 0 and done > 0]
    return statistics.median(paces) * work / gpus if paces else None


def _validations(training: TrainingSpec, epochs: float) -> int:
    """How often a run is validated: by its interval, and at its end."""
    return max(1, math.ceil((epochs or DEFAULT_EPOCHS) / training.validation_interval))
