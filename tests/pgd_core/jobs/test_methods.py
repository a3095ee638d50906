"""The options of the methods, as a job gives them."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from pgd_core.distill import BRANCHES, STRATEGIES, PgdParameters
from pgd_core.jobs.methods import PgdSpec


def test_a_job_may_ask_for_every_strategy_and_branch_that_there_is() -> None:
    """They are written twice, because jobs know no torch."""
    fields = PgdSpec.model_fields
    assert get_args(fields["strategy"].annotation) == STRATEGIES
    assert get_args(fields["branches"].annotation) == BRANCHES


def test_pgd_without_options_is_the_paper_s_choice() -> None:
    spec, parameters = PgdSpec(), PgdParameters()
    assert (spec.strategy, spec.branches) == (parameters.strategy, parameters.branches)
    assert (spec.strategy, spec.branches) == ("pgw", "cls+reg")


@pytest.mark.parametrize("options", [{"strategy": "bogus"}, {"branches": "reg+cls"}])
def test_an_unknown_strategy_or_branch_is_refused_by_name(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        PgdSpec.model_validate(options)
