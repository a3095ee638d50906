"""Of data sets that were deleted before, the models that were trained on them tell the classes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import delete, select

from pgd_core.errors import NotFound
from pgd_core.jobs.job import Artifact, Reason
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, TrainJob
from pgd_core.store import SqlJobStore, SqlLibraryStore, migrate
from pgd_core.store.dataset_tables import DatasetRow, FormerDatasetRow
from pgd_core.store.engine import reading, writing
from pgd_core.store.migrate import alembic_config

DETECTOR = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18"))


def dataset_of(library):
    dataset = library.add_dataset("street", "/a", "/b", "/c", "/d")
    library.dataset_checked(
        dataset.id, usable=True, report={}, sha256="cd" * 32, classes=("cat", "dog")
    )
    return dataset.id


def train(engine, dataset_id):
    jobs = SqlJobStore(engine)
    jobs.submit(TrainJob(kind="train", dataset=dataset_id, model=DETECTOR))
    job, claim = jobs.claim(Offer("w", "default"), timedelta(minutes=1))
    jobs.started(claim)
    weights = Artifact(job.id, 1, "detector.safetensors", 9, "ab" * 32, "k", "x")
    jobs.finish(claim, Reason.COMPLETED, artifacts=[weights])


def test_what_a_model_was_trained_on_keeps_its_classes_and_nothing_else_does(engine, url):
    library, config = SqlLibraryStore(engine), alembic_config()
    unused, gone, kept = (dataset_of(library) for _ in range(3))
    for dataset_id in (gone, gone, kept, "of which no model knows"):
        train(engine, dataset_id)
    with writing(engine) as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "0010")
        session.execute(delete(DatasetRow).where(DatasetRow.id.in_([unused, gone])))

    migrate(url)

    with reading(engine) as session:
        (row,) = session.scalars(select(FormerDatasetRow))
        assert (row.id, row.name, row.version, row.team) == (gone, "street", 2, "default")
        assert (row.classes, row.sha256) == (["cat", "dog"], "cd" * 32)
    assert library.dataset_classes(gone) == library.dataset_classes(kept) == ("cat", "dog")
    with pytest.raises(NotFound):
        library.dataset_classes(unused)
