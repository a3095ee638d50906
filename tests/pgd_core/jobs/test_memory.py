"""The estimate against what was measured, and the limits of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgd_core.jobs import memory
from pgd_core.jobs.memory import Load, inference_memory_mb, padded_pixels, training_memory_mb
from pgd_core.jobs.sizes import size_of
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, InputSpec, TrainingSpec

MEASURED = json.loads((Path(__file__).parent / "memory_measured.json").read_text())
FCOS = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet50"))


def name_of(case):
    kind = f"{case['det']}-{case['bb']['name']}-w{case['width']}-{case['prec']}"
    return f"{kind}-{case['method']}-{case['h']}x{case['w']}x{case['batch']}-{case['frozen']}"


def load_of(case) -> Load:
    backbone = BackboneSpec(
        **case["bb"], frozen_stages=case["frozen"], freeze_batch_norm=case["fbn"]
    )
    spec = DetectorSpec(
        detector=case["det"],
        backbone=backbone,
        head_width=case["width"],
        head_convs=case["convs"],
    )
    teacher = None
    if case["teacher"]:
        teacher = spec.model_copy(update={"backbone": BackboneSpec(**case["teacher"])})
    return Load(
        spec,
        case["classes"],
        case["batch"],
        case["h"] * case["w"],
        TrainingSpec(precision=case["prec"]),
        teacher=teacher,
        method=case["method"] or "none",
    )


@pytest.mark.parametrize("case", MEASURED, ids=name_of)
def test_the_estimate_is_near_what_was_measured(case):
    load = load_of(case)
    size = size_of(load.trained, load.classes)
    half = case["prec"] != "fp32"

    kept_mb = memory._kept_bytes(size, load, half) * load.pictures * load.pixels / 2**20
    peak_mb = memory._dynamic_bytes(size, load) / 2**20

    assert (size.parameters, size.backbone) == (case["params"], case["bparams"])
    assert kept_mb == pytest.approx(case["saved_mb"], rel=0.2 if half else 0.1)
    assert peak_mb == pytest.approx(case["peak_mb"], rel=0.2 if half else 0.14)


def test_the_whole_is_weights_moments_activations_and_the_runtimes_share():
    load = Load(FCOS, 80, pictures=2, pixels=800 * 1344, training=TrainingSpec())
    size = size_of(FCOS, 80)

    by_hand = 4 * 2 * size.parameters + 4 * 2 * 800 * 1344 * (size.kept + 20)

    assert training_memory_mb(load) == memory.RUNTIME_MB + round(by_hand / 2**20)


def test_adamw_accumulation_more_gpus_and_a_teacher_cost_more_and_half_precision_less():
    def estimate(training=None, **rest):
        training = training or TrainingSpec()
        return training_memory_mb(Load(FCOS, 80, 2, 800 * 1344, training, **rest))

    plain = estimate()
    assert estimate(TrainingSpec(optimizer="adamw")) > plain
    assert estimate(TrainingSpec(accumulation=2)) > plain
    assert estimate(gpus=2) > plain
    assert estimate(teacher=FCOS, method="pgd") > plain
    assert estimate(TrainingSpec(precision="bf16")) < plain
    assert inference_memory_mb(FCOS, 80, 2, 800 * 1344) < plain


def test_a_network_of_timm_is_not_guessed():
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="timm/resnet18"))
    load = Load(model, 80, 2, 320 * 320, TrainingSpec())

    assert training_memory_mb(load) is None
    assert training_memory_mb(Load(FCOS, 80, 2, 320 * 320, TrainingSpec(), teacher=model)) is None
    assert inference_memory_mb(model, 80, 2, 320 * 320) is None


def test_the_largest_of_several_scales_counts_padded():
    given = InputSpec(long_side=1000, short_side=500, multi_scale_short_sides=(480, 1010))

    assert padded_pixels(given) == 1024 * 1024
    assert padded_pixels(InputSpec()) == 1344 * 800


def test_what_was_measured_can_be_measured_again():
    from tests.benchmarks.bench_memory import measure

    case = min(MEASURED, key=lambda case: case["peak_mb"])

    again = measure(case)

    assert again["saved_mb"] == pytest.approx(case["saved_mb"], rel=0.02)
    assert again["peak_mb"] == pytest.approx(case["peak_mb"], rel=0.05)
