"""PGD's options upon the preset of a detector."""

from __future__ import annotations

import pytest

from pgd_core.distill import PgdParameters, Setting
from pgd_core.distill.methods import build_method
from pgd_core.jobs.methods import PgdSpec


def hyper_of(detector: str = "fcos", dataset: str = "coco", **options: object) -> PgdParameters:
    """The parameters of a job's PGD, from the options that its user gave."""
    setting = Setting(detector, "resnet", dataset, 256, (8, 16, 32, 64, 128))
    method = build_method("pgd", setting, PgdSpec.model_validate(options).given())
    hyper = method.hyper
    assert isinstance(hyper, PgdParameters)
    return hyper


@pytest.mark.parametrize("profile", ["release", "paper"])
@pytest.mark.parametrize("detector", ["fcos", "autoassign", "atss", "gfl", "ddod"])
def test_without_options_a_job_trains_with_its_detector_s_preset(
    detector: str, profile: str
) -> None:
    expected = PgdParameters.preset(detector, profile=profile)  # type: ignore[arg-type]
    assert hyper_of(detector, profile=profile) == expected


@pytest.mark.parametrize("alpha", [0, 0.005, 0.2])
def test_beta_and_gamma_follow_a_given_alpha_not_the_preset_s(alpha: float) -> None:
    """Table 6b sweeps alpha with both derived from it."""
    hyper = hyper_of("ddod", "crowdhuman", alpha=alpha)
    assert (hyper.alpha, hyper.beta, hyper.gamma) == (alpha, 0.5 * alpha, 1.6 * alpha)


def test_a_given_beta_or_gamma_stands_and_the_other_follows_alpha() -> None:
    hyper = hyper_of(alpha=0.1, beta=0.01)
    assert (hyper.beta, hyper.gamma) == (0.01, pytest.approx(0.16))
    hyper = hyper_of("atss", gamma=0.5)
    assert (hyper.alpha, hyper.beta, hyper.gamma) == (0.08, 0.04, 0.5)


def test_every_option_reaches_the_parameters_and_the_rest_stays_the_preset_s() -> None:
    hyper = hyper_of(
        "autoassign", top_k=9, xi_cls=0.1, xi_reg=1, delta=0.2, strategy="kde", branches="reg"
    )
    assert (hyper.top_k, hyper.xi_cls, hyper.xi_reg, hyper.delta) == (9, 0.1, 1, 0.2)
    assert (hyper.strategy, hyper.branches) == ("kde", "reg")
    assert (hyper.alpha, hyper.tau) == (0.08, 0.4)
    assert hyper_of("autoassign", tau=1.5).tau == 1.5
    assert hyper_of("autoassign", profile="paper", strategy="box").tau == 0.8
