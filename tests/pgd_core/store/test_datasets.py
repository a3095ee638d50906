"""The contract of `DatasetStore`, beyond what `test_library` says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from sqlalchemy import text

from pgd_core.errors import Conflict, IllegalMove, NotFound
from pgd_core.jobs.job import Upload
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.spec import StudyJob
from pgd_core.store import SqlLibraryStore, migrate, open_engine
from pgd_core.store.engine import writing
from pgd_core.store.housekeeping import SqlHousekeeping
from pgd_core.store.migrate import alembic_config
from tests.servers import postgres_url

PARTS = ("/d/train.json", "/d/train", "/d/val.json", "/d/val")


def sent(library, name="upload-1", age=timedelta(0)):
    """The id of an upload."""
    arrived = datetime.now(UTC) - age
    library.add_upload(Upload(name, "set.zip", 7, "ab" * 32, f"uploads/{name}", arrived))
    return name


def ready(library, sha256="ab" * 32, team="default", usable=True):
    """The id of a data set that was checked."""
    dataset = library.add_dataset("digits", *PARTS, team=team)
    library.dataset_checked(dataset.id, usable=usable, report={}, sha256=sha256, classes=("0",))
    return dataset.id


def test_one_that_was_sent_has_no_parts_until_it_is_unpacked(library):
    dataset = library.add_dataset("digits", upload=sent(library))

    assert (dataset.upload, dataset.train_annotations, dataset.val_images) == ("upload-1", "", "")
    there = library.dataset_unpacked(dataset.id, PARTS)
    assert (there.train_annotations, there.val_images) == (PARTS[0], PARTS[3])
    assert library.datasets_to_check() == [there]


def test_it_is_unpacked_once_and_never_after_its_check(library):
    dataset = library.add_dataset("digits", upload=sent(library))
    library.dataset_unpacked(dataset.id, PARTS)

    with pytest.raises(IllegalMove):
        library.dataset_unpacked(dataset.id, ("/other",) * 4)
    library.dataset_checked(dataset.id, usable=True, report={}, sha256="", classes=())
    with pytest.raises(IllegalMove):
        library.dataset_unpacked(dataset.id, ("/other",) * 4)
    assert library.dataset(dataset.id).train_images == PARTS[1]


def test_one_of_s3_keeps_its_address(library):
    dataset = library.add_dataset("digits", s3="s3://bucket/street")

    assert library.dataset(dataset.id).s3 == "s3://bucket/street"


def test_an_upload_that_does_not_exist_is_not_found(library):
    with pytest.raises(NotFound, match="no upload none"):
        library.add_dataset("digits", upload="none")
    assert library.datasets() == []


def test_a_name_counts_its_versions_in_each_team(library):
    versions = [library.add_dataset("a", *PARTS).version for _ in range(3)]

    assert versions == [1, 2, 3]
    assert library.add_dataset("b", *PARTS).version == 1
    assert library.add_dataset("a", *PARTS, team="other").version == 1


def test_a_version_is_never_given_again(library):
    library.add_dataset("a", *PARTS)
    library.delete_dataset(library.add_dataset("a", *PARTS).id)

    assert library.add_dataset("a", *PARTS).version == 3


def test_who_register_together_get_a_version_each(library):
    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(lambda _: library.add_dataset("a", *PARTS).version, range(8)))

    assert sorted(added) == list(range(1, 9))


def test_equal_content_names_the_first_ready_one_of_the_team(library):
    rejected = ready(library, usable=False)
    first, second, third = ready(library), ready(library), ready(library)
    other, strange = ready(library, "cd" * 32), ready(library, team="other")

    found = {dataset.id: dataset.same_as for dataset in library.datasets()}

    assert found == {
        **{rejected: None, first: None, second: first, third: first},
        **{other: None, strange: None},
    }
    library.delete_dataset(first)
    assert library.dataset(third).same_as == second
    assert library.dataset(second).same_as is None


def test_without_content_nothing_is_the_same(library):
    ready(library, "")

    assert library.dataset(ready(library, "")).same_as is None


def test_progress_is_told_while_the_check_lasts(library):
    dataset = library.add_dataset("digits", *PARTS)
    library.dataset_told(dataset.id, {"stage": "checking", "done": 0.5})
    assert library.dataset(dataset.id).progress == {"stage": "checking", "done": 0.5}

    library.dataset_checked(dataset.id, usable=True, report={}, sha256="", classes=())
    library.dataset_told(dataset.id, {"stage": "checking", "done": 0.9})
    assert library.dataset(dataset.id).progress == {}
    library.dataset_told("none", {})


def test_what_is_deleted_is_gone(library):
    dataset_id = ready(library)

    assert library.delete_dataset(dataset_id).id == dataset_id

    with pytest.raises(NotFound):
        library.dataset(dataset_id)
    with pytest.raises(NotFound):
        library.delete_dataset(dataset_id)
    with pytest.raises(NotFound):
        library.dataset_unpacked(dataset_id, PARTS)


def test_of_a_deleted_one_the_classes_stay_known(library):
    dataset_id = ready(library)
    assert library.dataset_classes(dataset_id) == ("0",)

    library.delete_dataset(dataset_id)

    assert library.dataset_classes(dataset_id) == ("0",)
    with pytest.raises(NotFound, match="no data set none"):
        library.dataset_classes("none")


def test_a_data_set_stays_while_a_job_that_has_not_ended_needs_it(library, jobs, spec):
    dataset_id, other = ready(library), ready(library)
    queued = jobs.submit(spec.model_copy(update={"dataset": dataset_id}))
    running = jobs.submit(spec.model_copy(update={"dataset": dataset_id}))
    jobs.claim(Offer("worker", "default"), timedelta(minutes=1))
    jobs.submit(spec.model_copy(update={"dataset": "another"}))

    with pytest.raises(Conflict, match=f"{queued.id}, {running.id}"):
        library.delete_dataset(dataset_id)
    jobs.cancel(running.id)  # the queued one
    with pytest.raises(Conflict, match=queued.id):
        library.delete_dataset(dataset_id)
    assert library.dataset(dataset_id).state == "ready"
    library.delete_dataset(other)

    jobs.expire_leases()
    claim = jobs.get(queued.id)
    assert claim.state == "starting"


def test_a_job_that_ended_lets_its_data_set_go(library, jobs, spec):
    dataset_id = ready(library)
    jobs.cancel(jobs.submit(spec.model_copy(update={"dataset": dataset_id})).id)

    library.delete_dataset(dataset_id)


def test_a_study_holds_its_data_set(library, jobs):
    dataset_id = ready(library)
    study = StudyJob.model_validate(
        {
            "kind": "study",
            "dataset": dataset_id,
            "teachers": {"fcos": "teacher"},
            "student": {"name": "resnet18"},
            "matrices": [{"axes": [{"field": "method", "values": ["fgd", "pgd"]}]}],
            "seeds": [0],
        }
    )
    job = jobs.submit(study)

    with pytest.raises(Conflict, match=job.id):
        library.delete_dataset(dataset_id)


def test_housekeeping_knows_data_sets_their_sheets_and_uploads(library, engine):
    rows, week = SqlHousekeeping(engine), timedelta(days=7)
    upload = sent(library, age=2 * week)
    dataset = library.add_dataset("digits", upload=upload)

    assert rows.datasets([dataset.id, "none"]) == {dataset.id}
    assert rows.owners([dataset.id, "none"]) == {dataset.id}
    assert f"datasets/{dataset.id}/contact_sheet.jpg" in rows.named_keys([dataset.id, "none"])
    assert rows.spent_uploads([upload], week) == set()
    library.dataset_checked(dataset.id, usable=False, report={}, sha256="", classes=())
    assert rows.spent_uploads([upload], week) == {upload}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_there_before_gets_versions_in_the_order_it_came(kind, tmp_path):
    url = f"sqlite:///{tmp_path / 'old.sqlite'}" if kind == "sqlite" else postgres_url()
    engine, config = open_engine(url), alembic_config()
    with writing(engine) as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, "0004")
        for number, name in enumerate(("a", "b", "a")):
            session.execute(
                text(
                    "INSERT INTO datasets (id, name, state, train_annotations, train_images, "
                    "val_annotations, val_images, classes, sha256, report, created_at) VALUES "
                    f"('{number}', '{name}', 'ready', '', '', '', '', '[]', '', '{{}}', "
                    "CURRENT_TIMESTAMP)"
                )
            )

    migrate(url)

    library = SqlLibraryStore(engine)
    assert [(d.id, d.version) for d in library.datasets()] == [("2", 2), ("1", 1), ("0", 1)]
    assert library.add_dataset("a", *PARTS).version == 3
    engine.dispose()
