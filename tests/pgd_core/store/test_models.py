"""The contract of `ModelStore`, and of the jobs that register models as they succeed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from pgd_core.errors import InvalidSpec, NotFound
from pgd_core.jobs.job import Artifact, JobState, Reason
from pgd_core.jobs.machine import Offer, Placement, Worker
from pgd_core.jobs.models import COMPLETE_ONNX, MOST_TAGS, Finding
from pgd_core.jobs.spec import BackboneSpec, DistillJob, ExportJob
from pgd_core.store import SqlModelStore, SqlTeamStore, SqlWorkerStore

LEASE = timedelta(minutes=1)
RESULT = {
    "teacher": {"metrics": {"AP": 40.0}},
    "distilled": {
        "metrics": {"AP": 35.5, "AP50": float("nan")},
        "cost": {"parameters": 2_300_000, "gflops": 1.5, "latency_ms": 9.0},
    },
    "gain": {"over_plain": 2.5},
}


@pytest.fixture
def models(engine):
    return SqlModelStore(engine)


@pytest.fixture
def dataset(library):
    dataset = library.add_dataset("digits", "/a", "/b", "/c", "/d")
    library.dataset_checked(
        dataset.id, usable=True, report={}, sha256="ab" * 32, classes=("0", "1")
    )
    return dataset.id


@pytest.fixture
def teacher(library, model):
    return library.add_teacher("big", model, ("0", "1"), key="k", sha256="cd" * 32)


def file_of(job, name, size=4):
    key = f"artifacts/{job.id}/{job.attempt}/{name}"
    return Artifact(job.id, job.attempt, name, size, "ef" * 32, key, "application/octet-stream")


def run(jobs, spec, *names, result=RESULT, reason=Reason.COMPLETED, team="default"):
    """The job once it has ended, with files of these names."""
    pool = f"pool-{spec.kind}-{team}"
    jobs.submit(spec, Placement(pool, team))
    job, claim = jobs.claim(Offer("worker-1", pool), LEASE)
    jobs.started(claim)
    return jobs.finish(
        claim, reason, result=result, artifacts=[file_of(job, name) for name in names]
    )


def distill(dataset, teacher, name="light", seed=7):
    return DistillJob(
        kind="distill",
        name=name,
        dataset=dataset,
        teacher=teacher.id,
        student=BackboneSpec(name="mobilenet_v2", width=0.5),
        training={"seed": seed},
    )


@pytest.fixture
def distilled(jobs, dataset, teacher):
    return run(jobs, distill(dataset, teacher), "student.safetensors", "student.pth")


@pytest.fixture
def registered(distilled, models):
    """The model that a distill job made."""
    (found,) = models.models()
    assert found.job_id == distilled.id
    return found


def test_the_student_of_a_distill_job_is_a_model_with_all_that_it_was_made_from(
    engine, jobs, models, dataset, teacher
):
    SqlWorkerStore(engine).announce(
        Worker("worker-1", "host", 1, "default", (), {"torch": "2.13.0", "pgd": "0.1.0"})
    )
    job = run(jobs, distill(dataset, teacher), "student.safetensors")

    (found,) = models.models()

    assert models.model(found.id) == found
    assert (found.team, found.title, found.kind) == ("default", "light v1", "distill")
    assert (found.job_id, found.dataset_id, found.classes) == (job.id, dataset, ("0", "1"))
    assert found.detector["detector"] == "fcos"
    assert found.detector["backbone"]["name"] == "mobilenet_v2"
    assert found.metrics == {"AP": 35.5}
    assert found.cost["parameters"] == 2_300_000
    assert found.gain == {"over_plain": 2.5}
    assert (found.size, found.sha256) == (4, "ef" * 32)
    assert (found.notes, found.tags, found.export_job) == ("", (), None)
    assert found.lineage == {
        "dataset": {"id": dataset, "name": "digits", "version": 1, "sha256": "ab" * 32},
        "teacher": {
            "id": teacher.id,
            "name": "big",
            "sha256": "cd" * 32,
            "source_job": None,
            "metrics": {"AP": 40.0},
        },
        "spec_sha256": job.spec_sha256,
        "seed": 7,
        "method": "pgd",
        "versions": {"torch": "2.13.0", "pgd": "0.1.0"},
    }


def test_what_a_train_job_made_is_a_model_too(jobs, models, spec):
    result = {"detector": {"metrics": {"AP": 41.5}}}
    run(jobs, spec, "detector.safetensors", result=result)

    (found,) = models.models()

    assert (found.title, found.metrics) == ("a student v1", {"AP": 41.5})
    assert (found.lineage["teacher"], found.lineage["dataset"]) == (None, None)
    assert found.lineage["versions"]["pgd"]


def test_a_job_without_a_name_names_its_model_after_head_and_backbone(
    jobs, models, dataset, teacher, spec
):
    run(jobs, distill(dataset, teacher, name=" "), "student.safetensors")
    run(jobs, spec.model_copy(update={"name": ""}), "detector.safetensors")

    assert [m.name for m in models.models()] == ["fcos-resnet18", "fcos-mobilenet_v2"]


@pytest.mark.parametrize(
    ("names", "reason"),
    [(("student.safetensors",), Reason.DIVERGED), (("student.pth",), Reason.COMPLETED)],
    ids=["failed", "without weights"],
)
def test_what_made_no_detector_registers_none(jobs, models, dataset, teacher, names, reason):
    run(jobs, distill(dataset, teacher), *names, reason=reason)

    assert models.models() == []


@pytest.mark.parametrize("result", [{}, {"distilled": [1]}, {"distilled": None, "gain": 3}])
def test_an_odd_result_is_no_reason_not_to_end(jobs, models, dataset, teacher, result):
    job = run(jobs, distill(dataset, teacher), "student.safetensors", result=result)

    assert job.state is JobState.SUCCEEDED
    (found,) = models.models()
    assert (found.metrics, found.cost, found.gain) == ({}, {}, {})


def test_a_success_that_is_not_stored_registers_nothing(jobs, models, dataset, teacher):
    twice = ("student.safetensors", "student.safetensors")  # the artifacts' key forbids it

    with pytest.raises(Exception, match=r"(?i)unique"):
        run(jobs, distill(dataset, teacher), *twice)

    assert jobs.list()[0].state is JobState.RUNNING
    assert models.models() == []


def test_versions_count_up_by_team_and_name(engine, jobs, models, dataset, teacher):
    SqlTeamStore(engine).put("other", weight=1, max_running_gpus=None, max_queued_jobs=None)
    for seed, name, team in [(1, "a", "default"), (2, "a", "default"), (3, "b", "default")]:
        run(jobs, distill(dataset, teacher, name, seed), "student.safetensors", team=team)
    run(jobs, distill(dataset, teacher, "a", 4), "student.safetensors", team="other")

    titles = [(m.team, m.title) for m in models.models()]

    assert titles == [
        ("other", "a v1"),
        ("default", "b v1"),
        ("default", "a v2"),
        ("default", "a v1"),
    ]


def test_models_of_a_name_that_are_made_at_once_all_have_a_version(jobs, models, dataset, teacher):
    claims = []
    for seed in range(12):
        jobs.submit(distill(dataset, teacher, "a", seed))
        claims.append(jobs.claim(Offer("worker-1", "default"), LEASE)[1])
        jobs.started(claims[-1])

    def finish(claim):
        weights = file_of(jobs.get(claim.job_id), "student.safetensors")
        jobs.finish(claim, Reason.COMPLETED, result=RESULT, artifacts=[weights])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(finish, claims))

    assert sorted(m.version for m in models.models()) == list(range(1, 13))


def test_models_are_listed_newest_first_by_page_and_by_what_they_are(
    jobs, models, dataset, teacher, library
):
    other = library.add_dataset("other", "/a", "/b", "/c", "/d").id
    ended = [
        run(jobs, distill(of, teacher, name, seed), "student.safetensors")
        for seed, (name, of) in enumerate([("a", dataset), ("a", other), ("b", dataset)])
    ]
    c, b, a = models.models()
    models.change(b.id, add_tags=["good"])

    def ids(**which):
        return [m.id for m in models.models(Finding(**which))]

    assert [m.job_id for m in (a, b, c)] == [job.id for job in ended]
    assert [m.id for m in models.models(limit=2)] == [c.id, b.id]
    assert [m.id for m in models.models(after=b.id)] == [a.id]
    assert ids(name="a") == [b.id, a.id]
    assert ids(tag="good") == [b.id]
    assert ids(dataset_id=dataset) == [c.id, a.id]
    assert ids(job_id=ended[0].id) == [a.id]
    assert ids(team="none") == ids(name="none") == ids(name="b", tag="good") == []


def test_tags_are_added_and_removed_and_notes_replaced(models, registered):

    changed = models.change(registered.id, add_tags=["b", "a", "b"], notes="the best\x00 so far")
    assert (changed.tags, changed.notes) == (("a", "b"), "the best so far")
    again = models.change(registered.id, add_tags=["a", "c"], remove_tags=["b", "none"])
    assert (again.tags, again.notes) == (("a", "c"), "the best so far")
    assert models.change(registered.id, notes="").notes == ""
    assert models.model(registered.id).tags == ("a", "c")


def test_a_model_has_so_many_tags_and_no_more(models, registered):
    models.change(registered.id, add_tags=[f"t{n:02}" for n in range(MOST_TAGS)])

    with pytest.raises(InvalidSpec, match=f"{MOST_TAGS} are allowed"):
        models.change(registered.id, add_tags=["more"], notes="lost")

    assert models.model(registered.id).notes == ""
    assert (
        len(models.change(registered.id, add_tags=["more"], remove_tags=["t00"]).tags) == MOST_TAGS
    )


def test_tags_that_are_added_at_once_are_all_there(models, registered):

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda n: models.change(registered.id, add_tags=[f"t{n}"]), range(12)))

    assert len(models.model(registered.id).tags) == 12


def test_what_is_unregistered_is_no_model_any_more_and_its_version_is_not_given_again(
    jobs, models, dataset, teacher, distilled
):
    (found,) = models.models()
    models.unregister(found.id)

    for ask in (models.model, models.change, models.unregister):
        with pytest.raises(NotFound, match=found.id):
            ask(found.id)
    assert models.models() == []
    assert jobs.artifact(distilled.id, "student.safetensors")
    run(jobs, distill(dataset, teacher, seed=8), "student.safetensors")
    assert models.models()[0].title == "light v2"


def test_a_model_knows_its_newest_export(jobs, models, dataset, distilled):
    def export(*names, reason=Reason.COMPLETED):
        spec = ExportJob(kind="export", dataset=dataset, job=distilled.id)
        return run(jobs, spec, *names, result={}, reason=reason).id

    export("student.onnx")
    assert models.models()[0].export_job is None
    first = export(COMPLETE_ONNX)
    assert models.models()[0].export_job == first
    export(reason=Reason.EXPORT_FAILED)
    assert models.models()[0].export_job == first
    second = export(COMPLETE_ONNX)
    assert models.models()[0].export_job == second


def test_an_unknown_model_is_not_found(models):
    with pytest.raises(NotFound, match="no-such-id"):
        models.model("no-such-id")
