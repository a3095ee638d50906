from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS

from pgd_core.detectors.build import build_detector, detector_config
from pgd_core.detectors.recognise import recognise
from pgd_core.detectors.weights import Weights
from pgd_core.jobs.declared import contradictions
from pgd_core.jobs.spec import BackboneSpec, DetectorName, DetectorSpec
from tests.pgd_core.detectors.batches import small_spec

SPEC = DetectorSpec(
    detector="gfl",
    backbone=BackboneSpec(name="mobilenet_v2", width=0.5),
    head_width=64,
    head_convs=2,
)


def weights_of(spec: DetectorSpec, classes: int = 7) -> Weights:
    return dict(build_detector(spec, classes).state_dict())


@pytest.mark.parametrize("detector", list(DetectorName))
def test_each_detector_is_recognised_with_widths_classes_and_norms(detector: DetectorName) -> None:
    spec = SPEC.model_copy(update={"detector": detector})
    found = recognise(weights_of(spec))
    assert found.model == spec
    assert (found.detector, found.backbone, found.width) == (detector, "mobilenet_v2", 0.5)
    assert (found.neck_width, found.head_width, found.head_convs) == (64, 64, 2)
    assert found.classes == 7
    assert found.norms == {"backbone": "BN", "neck": "none", "head": "GN"}
    assert contradictions(spec, 7, found) == []


def test_class_names_are_believed_where_they_are_as_many_as_the_channels() -> None:
    weights = weights_of(small_spec(), 2)
    assert recognise(weights, class_names=("cat", "dog")).class_names == ("cat", "dog")
    doubted = recognise(weights, class_names=("cat", "dog", "owl"))
    assert doubted.class_names is None
    assert "names 3 classes and is not believed" in doubted.notes[0]


def test_the_groups_of_the_norm_are_taken_from_the_declaration_or_the_config() -> None:
    weights = weights_of(small_spec())
    config = {"model": {"bbox_head": {"norm_cfg": {"type": "GN", "num_groups": 8}}}}
    groups = [
        recognise(weights, *given, norm_groups=declared).model.norm_groups  # type: ignore[union-attr]
        for given, declared in (((), None), ((config,), None), ((config,), 4))
    ]
    assert groups == [16, 8, 4]


def _changed(**changes: object) -> Weights:
    config = detector_config(small_spec("atss"), 3)
    for path, value in changes.items():
        part, key = path.split("__")
        config[part][key] = value
    return dict(MODELS.build(config).state_dict())


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (lambda: _changed(bbox_head__norm_cfg={"type": "BN"}), "the head's norm is BN"),
        (lambda: _changed(bbox_head__norm_cfg=None), "the head's norm is none"),
        (lambda: _changed(neck__norm_cfg={"type": "BN"}), "the neck's norm is BN"),
        (lambda: _changed(neck__start_level=0), "4 lateral"),
        (lambda: _changed(neck__num_outs=4), "4 output"),
        (lambda: _changed(bbox_head__feat_channels=32), "16 and 32 channels"),
    ],
)
def test_a_detector_that_is_not_built_here_is_named_with_the_reason(
    weights: object, reason: str
) -> None:
    found = recognise(weights())  # type: ignore[operator]
    assert (found.detector, found.model) == ("atss", None)
    assert any(reason in note for note in found.notes)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("bbox_head.retina_cls.weight", "RetinaNet"),
        ("roi_head.bbox_head.fc_cls.weight", "a detector of two stages"),
        ("bbox_head.reg_conf.0.weight", "GFL version 2"),
        ("fc.weight", "a classifier"),
        ("bbox_head.other.weight", "nothing known"),
        ("backbone.conv1.weight", "no detector: it has no bbox_head"),
    ],
)
def test_another_detector_is_called_what_it_looks_like(key: str, name: str) -> None:
    found = recognise({key: torch.ones(1)})
    assert (found.detector, found.model) == (name, None)
    assert "supported are atss, autoassign, ddod, fcos, gfl" in found.notes[0]


def test_a_declaration_that_says_otherwise_is_told_so() -> None:
    found = recognise(weights_of(SPEC))
    declared = DetectorSpec(
        detector="fcos", backbone=BackboneSpec(name="mobilenet_v2", width=0.25), head_width=128
    )
    assert [wrong.message for wrong in contradictions(declared, 80, found)] == [
        "detector is declared as fcos and looks like gfl",
        "head_width is declared as 128 and looks like 64",
        "head_convs is declared as 4 and looks like 2",
        "classes is declared as 80 and looks like 7",
        "width is declared as 0.25 and looks like 0.5",
    ]
