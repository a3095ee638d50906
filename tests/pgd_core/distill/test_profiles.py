"""The profiles are two rows of one table."""

from __future__ import annotations

from pgd_core.distill import PgdParameters
from pgd_core.distill.profiles import RULES


def test_there_are_two_profiles_and_they_differ_in_every_rule() -> None:
    assert set(RULES) == {"release", "paper"}
    release, paper = vars(RULES["release"]), vars(RULES["paper"])
    assert all(release[rule] != paper[rule] for rule in release)


def test_the_release_profile_is_the_default() -> None:
    assert PgdParameters().rules is RULES["release"]
    assert PgdParameters.preset("fcos", profile="paper").rules is RULES["paper"]
