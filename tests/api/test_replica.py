from __future__ import annotations

from api.replica_plan import DETECTORS, OTHERS, study_spec
from pgd_core.jobs.methods import METHODS
from pgd_core.jobs.spec import StudyJob, TeacherToTrain
from pgd_core.jobs.study import cells


def plan(seeds: int, seeds_of_all: int) -> list[tuple[str, str, int]]:
    study = StudyJob.model_validate(study_spec("d", seeds, seeds_of_all))
    teachers = study.teachers.items()
    models = {name: t.model for name, t in teachers if isinstance(t, TeacherToTrain)}
    return [(cell.teacher, cell.method, cell.seed) for cell in cells(study, models)]


def test_the_replica_has_every_detector_and_every_method_that_serves_fcos_and_gfl() -> None:
    found = plan(1, 1)
    for detector in DETECTORS:
        assert [m for d, m, _ in found if d == detector].count("none") == 2
        assert (detector, "pgd", 0) in found
    for detector in ("fcos", "gfl"):
        serving = {name for name, options in METHODS.items() if detector in options.detectors}
        assert {*OTHERS[detector], "pgd", "none"} == serving


def test_more_seeds_are_an_option() -> None:
    seeds = {(detector, seed) for detector, _, seed in plan(3, 2)}
    assert seeds == {("fcos", 2)} | {(d, s) for d in DETECTORS for s in (0, 1)}
