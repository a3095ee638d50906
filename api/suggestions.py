"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from pgd_core.jobs.spec import job_spec_adapter


def did_you_mean(problem: Mapping[str, Any]) -> str:
    """ "; did you mean 'epochs'?" for a field that is none; else nothing."""
    name = problem["loc"][-1] if problem["loc"] else None
    if problem["type"] != "extra_forbidden" or not isinstance(name, str) or len(name) > 100:
        return ""
    close = get_close_matches(name, _names(), n=1, cutoff=0.75)
    return f"; did you mean {close[0]!r}?" if close and close[0] != name else ""


@cache
def _names() -> tuple[str, ...]:
    """Of every field of a job's spec."""
    models = job_spec_adapter.json_schema()["$defs"].values()
    return tuple(sorted({name for model in models for name in model.get("properties", {})}))
