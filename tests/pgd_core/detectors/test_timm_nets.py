from __future__ import annotations

import pytest
import torch

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.timm_backbone import TimmBackbone, import_timm
from pgd_core.detectors.timm_nets import feature_levels, weights_of_timm
from pgd_core.detectors.weights import load_whole, misfit
from pgd_core.errors import InvalidSpec, WeightsUnusable
from tests.pgd_core.detectors.batches import CLASSES, batch, small_spec

NETS = ("test_resnet", "test_convnext", "mobilenetv3_small_050", "cspnext_l", "test_mambaout")


def test_levels_are_the_ones_at_strides_8_16_and_32() -> None:
    assert feature_levels("resnet10t").indices == (2, 3, 4)
    assert feature_levels("resnet10t").channels == (128, 256, 512)
    assert feature_levels("test_convnext").indices == (1, 2, 3)  # which has no level at stride 2


def test_trying_a_network_draws_no_random_number() -> None:
    feature_levels.cache_clear()
    torch.manual_seed(5)
    feature_levels("test_resnet")
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnt50", r"knows no network 'resnt50'; close to it: .*timm/resnet50"),
        ("resnet10t.c3_in2k", r"close to it: timm/resnet10t\.c3_in1k"),
        ("vit_tiny_patch16_224", "has maps at strides 16, not at 8, 16 and 32"),
        ("coat_lite_tiny", r"takes no picture of \(64, 96\) pixels"),  # of 224 alone
    ],
)
def test_a_network_that_cannot_be_a_backbone_is_refused_saying_why(name: str, told: str) -> None:
    with pytest.raises(InvalidSpec, match=told) as refused:
        feature_levels(name)
    assert f"backbone timm/{name}" in refused.value.message


@pytest.mark.parametrize("name", NETS)
def test_weights_of_the_whole_network_go_where_its_features_have_them(name: str) -> None:
    """Every tensor of the backbone is found, and no other is asked for."""
    with torch.device("meta"):
        backbone = TimmBackbone(name, feature_levels(name).indices)
        whole = import_timm().create_model(name).state_dict()
    assert not misfit(backbone, weights_of_timm(name, backbone, whole))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_a_backbone_with_the_networks_weights_computes_what_the_network_does(name: str) -> None:
    whole = import_timm().create_model(name).eval()
    backbone = TimmBackbone(name, feature_levels(name).indices).eval()
    load_whole(backbone, weights_of_timm(name, backbone, whole.state_dict()), "it", WeightsUnusable)
    picture = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(backbone(picture)[-1], whole.forward_features(picture))


def test_weights_of_a_deeper_network_are_refused() -> None:
    """All that the shallower one needs is there, in the right shapes."""
    timm = import_timm()
    with torch.device("meta"):
        backbone = TimmBackbone("resnet18", (2, 3, 4))
        deeper = timm.create_model("resnet34").state_dict()
    found = misfit(backbone, weights_of_timm("resnet18", backbone, deeper))
    assert not found.missing
    assert "layer1.2.conv1.weight" in found.unexpected


def test_what_no_map_depends_on_is_not_trained() -> None:
    """HRNet fuses its branches once more than its features need."""
    model = build_detector(small_spec(backbone="timm/hrnet_w18_small"), CLASSES)
    unused = {f"backbone.{name}" for name in feature_levels("hrnet_w18_small").unused}
    assert unused
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == unused


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050"])
def test_every_trained_parameter_of_a_detector_on_timm_gets_a_gradient(name: str) -> None:
    model = build_detector(small_spec(backbone=f"timm/{name}"), CLASSES).train()
    model.init_weights()
    losses = model(**model.data_preprocessor(batch(), True), mode="loss")
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
