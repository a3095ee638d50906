"""What a job names is there when the job is queued: either it is held, or its deletion is seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pgd_core.errors import Conflict, IllegalMove, InvalidSpec
from pgd_core.jobs.spec import job_spec_adapter
from pgd_core.store.dataset_tables import DatasetRow
from pgd_core.store.engine import writing
from pgd_core.store.named import deleted_of, teachers_in
from pgd_core.store.tables import TeacherRow

ROUNDS = 10


class Things:
    """A data set and a teacher, and specs that name them."""

    def __init__(self, library, model) -> None:
        self._library, self._model = library, model
        self.dataset = library.add_dataset("street", "/a", "/b", "/c", "/d").id
        self.teacher = library.add_teacher("big", model, ("0",), key="k", sha256="a").id

    def spec(self, kind):
        student = {"name": "mobilenet_v2"}
        own = {"model": self._model.model_dump(mode="json")}
        rest = {
            "train": own,
            "distill": {"teacher": self.teacher, "student": student},
            "evaluate": {"teacher": self.teacher},
            "analyse": {"teacher": self.teacher},
            "export": {"teacher": self.teacher},
            "study": {"teachers": {"mine": own, "big": self.teacher}, "student": student},
        }
        asked = {"kind": kind, "dataset": self.dataset, **rest[kind]}
        return job_spec_adapter.validate_python(asked)

    def delete(self, thing):
        delete = {"data set": self._library.delete_dataset, "teacher": self._library.delete_teacher}
        return delete[thing](getattr(self, thing.replace(" ", "")))


@pytest.fixture
def things(library, model):
    return Things(library, model)


KINDS = ("distill", "evaluate", "analyse", "export", "study")
NAMED = [("data set", kind) for kind in ("train", *KINDS)] + [("teacher", kind) for kind in KINDS]


def test_the_teachers_of_a_spec_are_registered_ones_and_not_those_to_train():
    study = {"teachers": {"a": "1", "b": {"model": {}, "training": None}}}

    assert teachers_in(study) == {"/teachers/a": "1"}
    assert teachers_in({"teacher": "1"}) == {"/teacher": "1"}
    assert teachers_in({"teacher": "", "job": "1"}) == teachers_in({"kind": "train"}) == {}


@pytest.mark.parametrize(("thing", "kind"), NAMED)
def test_a_job_that_names_what_was_deleted_is_not_queued_and_is_told_where(
    jobs, things, thing, kind
):
    spec = things.spec(kind)
    jobs.cancel(jobs.submit(spec).id)
    things.delete(thing)

    with pytest.raises(InvalidSpec, match=f"{thing} '(street|big)'.* was deleted; GET") as refused:
        jobs.submit(spec)

    (problem,) = refused.value.problems
    of_teacher = "/teachers/big" if kind == "study" else "/teacher"
    assert problem.pointer == ("/dataset" if thing == "data set" else of_teacher)
    assert len(jobs.list()) == 1


@pytest.mark.parametrize(("thing", "kind"), NAMED)
def test_a_job_whose_data_set_or_teacher_was_deleted_is_not_tried_again(jobs, things, thing, kind):
    job = jobs.cancel(jobs.submit(things.spec(kind)).id)
    things.delete(thing)
    events = jobs.events(job.id)

    with pytest.raises(IllegalMove, match=f"{job.id} cannot be tried again: {thing} .* deleted"):
        jobs.retry(job.id)

    assert (jobs.get(job.id), jobs.events(job.id)) == (job, events)


def test_all_that_was_deleted_is_named_at_once(jobs, things):
    spec = things.spec("distill")
    things.delete("data set")
    things.delete("teacher")

    with pytest.raises(InvalidSpec) as refused:
        jobs.submit(spec)

    assert [problem.pointer for problem in refused.value.problems] == ["/dataset", "/teacher"]


def test_a_key_gives_the_first_job_again_though_its_data_set_is_gone(jobs, things):
    spec = things.spec("train")
    first = jobs.cancel(jobs.submit(spec, idempotency_key="k").id)
    things.delete("data set")

    assert jobs.submit(spec, idempotency_key="k") == first
    with pytest.raises(InvalidSpec):
        jobs.submit(spec, idempotency_key="another")


@pytest.mark.parametrize("thing", ["data set", "teacher"])
@pytest.mark.parametrize("again", [False, True])
def test_of_a_deletion_and_a_job_at_the_same_time_one_is_refused(
    jobs, library, model, thing, again
):
    for _ in range(ROUNDS):
        things, together = Things(library, model), Barrier(2)
        spec = things.spec("distill")
        old = jobs.cancel(jobs.submit(spec).id) if again else None

        def queue(spec=spec, old=old, together=together):
            together.wait()
            return jobs.retry(old.id) if old else jobs.submit(spec)

        def delete(things=things, together=together):
            together.wait()
            return things.delete(thing)

        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(one) for one in (queue, delete)]
            refusals = [one.exception() for one in asked]

        assert sum(refusal is None for refusal in refusals) == 1, refusals
        assert all(isinstance(one, InvalidSpec | Conflict) for one in refusals if one)


def test_what_a_job_names_is_held_until_the_job_is_there(engine, things):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite holds no rows")
    with writing(engine) as queueing:
        assert deleted_of(queueing, things.spec("distill").model_dump(mode="json")) == ()

        for row, row_id in ((DatasetRow, things.dataset), (TeacherRow, things.teacher)):
            found = select(row.id).where(row.id == row_id)
            with writing(engine) as another:  # may be queued meanwhile, but nothing deleted
                held = found.with_for_update(read=True, key_share=True, nowait=True)
                assert another.scalar(held) == row_id
            with pytest.raises(OperationalError, match="lock"), writing(engine) as deleting:
                deleting.scalar(found.with_for_update(nowait=True))
