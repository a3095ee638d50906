"""What specs and bodies take for a number, and for yes or no."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from pgd_core.jobs.spec import StudyJob
from pgd_core.jobs.strict import Strict


class Inner(Strict):
    share: float = 0.5


class Outer(Strict):
    count: int = Field(1, ge=0)
    really: bool = False
    maybe: Annotated[int, Field(le=9)] | None = None
    sizes: tuple[float, ...] = ()
    inner: Inner = Inner()
    by_name: dict[str, Inner | str] | None = None


@pytest.mark.parametrize(
    "given",
    [
        {"count": "1"},
        {"count": True},
        {"count": 1.0},
        {"really": 0},
        {"really": "yes"},
        {"maybe": False},
        {"sizes": [1, "2"]},
        {"inner": {"share": "0.5"}},
        {"by_name": {"a": {"share": True}}},
    ],
)
def test_what_is_of_another_type_is_refused(given):
    with pytest.raises(ValidationError):
        Outer.model_validate(given)


def test_jsons_own_types_are_taken_whole_numbers_for_any_among_them():
    given = {"count": 2, "really": True, "sizes": [1, 2.5], "inner": {"share": 1}}

    taken = Outer.model_validate(given)

    assert taken.sizes == (1.0, 2.5)
    assert taken.inner.share == 1.0
    assert Outer.model_validate_json(taken.model_dump_json()) == taken


@pytest.mark.parametrize("preset", [{}, [], 1])
def test_a_preset_that_is_no_word_is_refused(preset):
    with pytest.raises(ValidationError, match="preset"):
        StudyJob.model_validate({"kind": "study", "dataset": "d", "preset": preset})
