from __future__ import annotations

import pytest
from pydantic import ValidationError

from pgd_core.jobs.spec import AnalyseJob, BackboneSpec, ExportJob, InputSpec


def test_a_resnet_has_four_stages_to_freeze_and_mobilenet_seven() -> None:
    assert BackboneSpec(name="resnet50", frozen_stages=4).frozen_stages == 4
    assert BackboneSpec(name="mobilenet_v2", frozen_stages=7).frozen_stages == 7
    with pytest.raises(ValidationError, match=r"frozen_stages 5.*give -1 to 4"):
        BackboneSpec(name="resnet50", frozen_stages=5)


@pytest.mark.parametrize("short", [0, -640, 31, 5000])
def test_each_of_several_short_sides_is_a_size_that_a_picture_can_have(short: int) -> None:
    assert InputSpec(multi_scale_short_sides=(640, 800)).multi_scale_short_sides == (640, 800)
    with pytest.raises(ValidationError, match="multi_scale_short_sides"):
        InputSpec(multi_scale_short_sides=(640, short))


@pytest.mark.parametrize("percents", [(), (1, 2), (0, 2, 1), (0, 1, 1), (0, 101), (0, -1)])
def test_hidden_shares_rise_from_0_to_at_most_100(percents: tuple[float, ...]) -> None:
    job = {"kind": "analyse", "dataset": "d", "teacher": "t"}
    assert AnalyseJob.model_validate(job).hide_percents == tuple(range(11))
    with pytest.raises(ValidationError, match="hide_percents"):
        AnalyseJob.model_validate({**job, "hide_percents": percents})


def test_a_share_is_of_one_thing_once() -> None:
    with pytest.raises(ValidationError, match="names one twice"):
        AnalyseJob(kind="analyse", dataset="d", teacher="t", hide_among=("boxes", "boxes"))


@pytest.mark.parametrize("name", ["timm/resnet10t", "timm/mobilenetv3_small_100.lamb_in1k"])
def test_a_network_of_timm_is_a_backbone_by_its_name_there(name: str) -> None:
    spec = BackboneSpec(name=name, weights="file:w.safetensors", frozen_stages=-1)
    assert spec.timm_name == name.removeprefix("timm/")
    assert BackboneSpec.model_validate_json(spec.model_dump_json()) == spec
    assert BackboneSpec(name="resnet18").timm_name is None


@pytest.mark.parametrize("name", ["resnet19", "timm/", "timm/../x", "timm/hf-hub:a/b", "timm/A b"])
def test_a_name_that_no_backbone_can_have_is_refused_naming_the_ones_there_are(name: str) -> None:
    with pytest.raises(ValidationError, match=r"is none of resnet18, .*timm/NAME") as refused:
        BackboneSpec(name=name)
    assert refused.value.error_count() == 1
    assert ("did you mean 'resnet18'?" in str(refused.value)) == (name == "resnet19")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"frozen_stages": 1}, "leave it out, or give -1"),
        ({"frozen_stages": 0}, "leave it out, or give -1"),
        ({"weights": "imagenet"}, "use 'file:NAME'"),
        ({"width": 0.5}, "is for mobilenet_v2"),
    ],
)
def test_what_is_unknown_of_timms_networks_is_refused(more: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        BackboneSpec(name="timm/resnet10t", **more)


@pytest.mark.parametrize("named", [{}, {"teacher": "t", "job": "j"}])
def test_an_export_names_one_detector(named: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="as `teacher` or as `job`, and not both"):
        ExportJob(kind="export", dataset="d", **named)
