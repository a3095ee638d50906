"""Every method on every detector that it serves, as a job that runs to its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pgd_core.errors import InvalidSpec
from pgd_core.jobs.methods import METHODS
from pgd_core.jobs.run import DatasetFiles, TeacherFile
from pgd_core.jobs.spec import DetectorName
from pgd_core.training.job import run_job
from tests.pgd_core.training.runs import distill_run, losses

# PGD has its own jobs in test_job.
SERVED = [
    (name, detector)
    for name, options in METHODS.items()
    for detector in options.detectors
    if name != "pgd" and (options.distils or detector == "fcos")
]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A job takes SIGTERM for itself; pytest gets it back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("method", "detector"), SERVED)
def test_each_method_distils_and_leaves_no_trace_of_its_adapters(
    method: str,
    detector: str,
    files: DatasetFiles,
    teachers: dict[str, TeacherFile],
    tmp_path: Path,
) -> None:
    run = distill_run(
        files,
        teachers[detector],
        {"epochs": None, "iterations": 2},
        method={"name": method},
        measure_teacher=False,
    )
    result = run_job(run, tmp_path)

    assert next(iter(result)) == "distilled"
    terms = losses(tmp_path, "distilled")[2]
    own = [name for name in terms if name.startswith(f"loss_{method}_")]
    assert bool(own) == METHODS[method].distils
    assert all(torch.tensor(terms[name]).isfinite() for name in own)
    published = load_file(tmp_path / "outputs" / "student.safetensors")
    assert {name.partition(".")[0] for name in published} == {"backbone", "neck", "bbox_head"}


@pytest.mark.parametrize(
    "method", [name for name, o in METHODS.items() if "fcos" not in o.detectors]
)
def test_a_method_that_cannot_serve_the_teachers_detector_names_those_that_can(
    method: str, files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = distill_run(files, teachers["fcos"], method={"name": method}, measure_teacher=False)
    with pytest.raises(InvalidSpec, match=f"'{method}' cannot distil fcos.*pgd"):
        run_job(run, tmp_path)


def test_every_detector_is_served_by_pgd_and_by_some_other() -> None:
    for detector in DetectorName:
        serving = {name for name, options in METHODS.items() if detector in options.detectors}
        assert {"pgd", "none", "fgd"} <= serving
