"""How much memory of a GPU a job will take, from its spec alone: an estimate, no torch.

    weights     4 bytes for each parameter of student and teacher; of those that are trained as many
                again for SGD's momentum, twice as many for AdamW's moments
    activations what the backward pass needs (`sizes.size_of`), for the pictures of one forward
                pass at the largest input, padded; distilling keeps 14 W/256 more numbers a pixel,
                FKD 34 W/256
    dynamic     the larger of: activations and what is at work beside them (20 numbers a pixel; 40
                with a teacher, whose forward pass leaves nothing behind); or half of the
                activations and all gradients. Gradients stay with accumulation and several GPUs.
    runtime     `RUNTIME_MB` for CUDA's context, libraries, cuDNN's workspaces and fragmentation

What was measured: the peak of one training step beside the weights, on a CPU, in the cases of
`tests/pgd_core/jobs/memory_measured.json` (`tests.benchmarks.bench_memory` measures them): the five
detectors, ResNet-18 to 101, MobileNetV2 at widths 0.5 and 1, heads of 64 and 256, 2 and 80 classes,
frozen stages, six methods, 128 to 1344 pixels, float32 and bfloat16. In float32 what is kept was
off by 9 % at most and by 1 % in most cases; the peak by 11 % at most, but for DDOD 13 %, whose
deformable convs take more on a CPU. In bfloat16 it was up to 19 % too high, see below.

What was not measured: a GPU. The runtime's share is a guess. So is that in half precision the head
keeps 5 bytes a number, as CUDA's autocast leaves GroupNorm in float32; a CPU's does not. Take the
estimate as good to a fifth. Pictures are taken as large as the input allows; most are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgd_core.jobs.detector import DetectorSpec
from pgd_core.jobs.schedule import InputSpec, TrainingSpec
from pgd_core.jobs.sizes import Size, size_of

RUNTIME_MB = 800
MEBIBYTE = 2**20
_AT_WORK, _AT_WORK_WITH_TEACHER = 20, 40  # numbers a pixel
_OF_METHODS = {"fkd": 34}  # numbers a pixel at a head of 256
_OF_OTHER_METHODS = 14
_HALF_OF_HEAD = 5 / 4  # bytes of the head in half precision, by those in float32


@dataclass(frozen=True)
class Load:
    """What one GPU has to hold."""

    trained: DetectorSpec
    classes: int
    pictures: int  # of one forward pass on one GPU
    pixels: int  # of one picture, padded
    training: TrainingSpec
    gpus: int = 1
    teacher: DetectorSpec | None = None
    method: str = "none"


def pictures_at_once(training: TrainingSpec, gpus: int) -> int:
    """Of one GPU in one forward pass."""
    return max(1, training.batch_size // (training.accumulation * gpus))


def padded_pixels(given: InputSpec) -> int:
    """Of the largest picture that comes in, padded."""
    short = max((given.short_side, *given.multi_scale_short_sides))
    sides = (max(given.long_side, short), short)
    height, width = (-(-side // given.size_divisor) * given.size_divisor for side in sides)
    return height * width


def training_memory_mb(load: Load) -> int | None:
    """MiB of each GPU while it trains; None where a network is not known here (timm)."""
    student = size_of(load.trained, load.classes)
    teacher = None if load.teacher is None else size_of(load.teacher, load.classes)
    if student is None or (load.teacher is not None and teacher is None):
        return None
    total = _static_bytes(student, teacher, load.training) + _dynamic_bytes(student, load)
    return RUNTIME_MB + round(total / MEBIBYTE)


def inference_memory_mb(
    model: DetectorSpec, classes: int, pictures: int, pixels: int
) -> int | None:
    """MiB while it only predicts: weights, and the widest maps of a forward pass."""
    size = size_of(model, classes)
    if size is None:
        return None
    dynamic = 4 * pictures * pixels * 3 * _AT_WORK
    return RUNTIME_MB + round((4 * size.parameters + dynamic) / MEBIBYTE)


def _static_bytes(student: Size, teacher: Size | None, training: TrainingSpec) -> float:
    moments = {"sgd": 1, "adamw": 2}[training.optimizer]
    copies = 0 if training.precision == "fp32" else 2 * student.parameters  # autocast's own
    of_teacher = 0 if teacher is None else 4 * teacher.parameters
    return 4 * student.parameters + 4 * moments * student.trained + copies + of_teacher


def _dynamic_bytes(student: Size, load: Load) -> float:
    pixels = load.pictures * load.pixels
    gradients = 4 * student.trained
    at_work = _AT_WORK if load.teacher is None else _AT_WORK_WITH_TEACHER
    half = load.training.precision != "fp32"
    kept = pixels * _kept_bytes(student, load, half)
    beside = pixels * at_work * (2 if half else 4)
    peak = max(kept + beside, kept / 2 + gradients + beside)
    stay = load.training.accumulation > 1 or load.gpus > 1
    return peak + (gradients if stay else 0)


def _kept_bytes(student: Size, load: Load, half: bool) -> float:
    """For each pixel of the input."""
    of_method = 0.0
    if load.teacher is not None:
        numbers = _OF_METHODS.get(load.method, _OF_OTHER_METHODS)
        of_method = numbers * load.trained.head_width / 256
    backbone = student.kept - student.kept_by_head
    if not half:
        return 4 * (student.kept + of_method)
    return 2 * backbone + 4 * _HALF_OF_HEAD * student.kept_by_head + 4 * of_method
