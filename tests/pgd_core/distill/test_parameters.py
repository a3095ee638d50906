"""Hyper-parameters: defaults, presets, refusals."""

from __future__ import annotations

import dataclasses

import pytest

from pgd_core.distill import PgdParameters
from pgd_core.errors import InvalidSpec


def test_the_defaults_are_the_printed_values() -> None:
    parameters = PgdParameters()
    assert (parameters.xi_cls, parameters.xi_reg, parameters.top_k) == (0.8, 0.6, 30)
    assert (parameters.delta, parameters.tau, parameters.profile) == (0.0008, 0.8, "release")


def test_beta_and_gamma_follow_alpha_unless_given() -> None:
    parameters = PgdParameters(alpha=0.5)
    assert parameters.beta == pytest.approx(0.25)
    assert parameters.gamma == pytest.approx(0.8)
    given = PgdParameters(alpha=0.5, beta=0.0, gamma=3)
    assert (given.beta, given.gamma) == (0, 3)


def test_a_preset_with_another_alpha_derives_beta_and_gamma_again_if_told() -> None:
    preset = PgdParameters.preset("fcos")
    changed = dataclasses.replace(preset, alpha=1.0, beta=None, gamma=None)  # type: ignore[arg-type]
    assert (changed.beta, changed.gamma) == (0.5, 1.6)
    assert dataclasses.replace(preset, alpha=1.0).beta == preset.beta


@pytest.mark.parametrize("profile", ["release", "paper"])
@pytest.mark.parametrize(
    ("detector", "backbone_family", "alpha"),
    [
        ("atss", "resnet", 0.08),
        ("atss", "mobilenet_v2", 0.04),
        ("ddod", "resnet", 0.08),
        ("autoassign", "resnet", 0.08),
        ("fcos", "resnet", 0.04),
        ("fcos", "mobilenet_v2", 0.04),
        ("gfl", "resnet", 0.04),
    ],
)
def test_alpha_is_the_release_s_for_each_detector_in_both_profiles(
    detector: str, backbone_family: str, alpha: float, profile: str
) -> None:
    """Departure 9: the paper prints "0.8 / 0.4"."""
    parameters = PgdParameters.preset(detector, backbone_family, profile)  # type: ignore[arg-type]
    assert parameters.alpha == alpha
    assert parameters.beta == pytest.approx(alpha / 2)
    assert parameters.gamma == pytest.approx(alpha * 1.6)


@pytest.mark.parametrize("profile", ["release", "paper"])
@pytest.mark.parametrize("detector", ["atss", "ddod", "autoassign", "fcos", "gfl"])
def test_k_is_thirty_for_every_detector(detector: str, profile: str) -> None:
    """Departure 10: the released ATSS configuration has 9."""
    assert PgdParameters.preset(detector, profile=profile).top_k == 30  # type: ignore[arg-type]


def test_only_autoassign_in_the_release_profile_has_a_tau_of_its_own() -> None:
    """Departure 11."""
    assert PgdParameters.preset("autoassign").tau == 0.4
    assert PgdParameters.preset("autoassign", profile="paper").tau == 0.8
    assert PgdParameters.preset("fcos").tau == 0.8


def test_ddod_on_crowdhuman_distils_far_more_weakly() -> None:
    assert PgdParameters.preset("ddod", dataset="crowdhuman").alpha == 0.001
    assert PgdParameters.preset("fcos", dataset="crowdhuman").alpha == 0.04


def test_an_unknown_detector_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidSpec, match=r"'yolo'.*autoassign"):
        PgdParameters.preset("yolo")


def test_level_weights_rise_by_a_quarter_in_the_release_profile_only() -> None:
    """Departure 8."""
    assert PgdParameters().weights_of_levels(5) == (1, 1.25, 1.5, 1.75, 2)
    assert PgdParameters(profile="paper").weights_of_levels(5) == (1,) * 5


def test_given_level_weights_must_be_one_a_level() -> None:
    parameters = PgdParameters(level_weights=(1.0, 0.5))
    assert parameters.weights_of_levels(2) == (1, 0.5)
    with pytest.raises(InvalidSpec, match="2 values and the detector 5"):
        parameters.weights_of_levels(5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("xi_cls", -0.1),
        ("xi_reg", 1.1),
        ("xi_cls", float("nan")),
        ("top_k", 0),
        ("tau", 0.0),
        ("tau", float("nan")),
        ("alpha", -1.0),
        ("delta", float("inf")),
        ("level_weights", (1.0, -1.0)),
        ("profile", "papper"),
        ("strategy", "bogus"),
        ("branches", "reg+cls"),
    ],
)
def test_an_impossible_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidSpec, match=field):
        PgdParameters(**{field: value})  # type: ignore[arg-type]


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PgdParameters().alpha = 1.0  # type: ignore[misc]
