"""Teachers from Python against a live server."""

from __future__ import annotations

import pytest

from api.client import ApiError, Client
from tests.api.conftest import CLASSES, MODEL
from tests.api.recognised import recognise


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


@pytest.fixture
def teacher(world, client, tmp_path):
    """The id of an upload of which nothing was said, recognised but for its classes' names."""
    (tmp_path / "big.pth").write_bytes(b"weights")
    upload = client.upload(tmp_path / "big.pth")
    added = client.add_teacher_from_upload("big", upload.id)
    assert (added.state, added.model, added.classes) == ("checking", {}, ())
    return recognise(world, added.id, class_names=None)


def test_an_upload_is_recognised_confirmed_evaluated_and_deleted(world, client, teacher):
    waited = client.wait_for_teacher(teacher)
    assert (waited.state, waited.recognised.head_width) == ("unconfirmed", 64)

    ready = client.confirm_teacher(teacher, classes=CLASSES)
    assert (ready.state, ready.classes) == ("ready", CLASSES)
    assert client.confirm_teacher(teacher, MODEL, list(CLASSES)) == ready

    job = client.evaluate_teacher(
        teacher, world.dataset(), {"workers": 0}, idempotency_key="one", priority="low", gpus=None
    )
    assert (job.kind, job.priority, job.spec["workers"]) == ("evaluate", "low", 0)
    with pytest.raises(ApiError, match="needed by job") as refused:
        client.delete_teacher(teacher)
    assert (refused.value.status, refused.value.code) == (409, "in_use")

    client.cancel(job.id)
    client.delete_teacher(teacher)
    assert client.teachers().items == []


def test_what_is_wrong_with_a_confirmation_is_told_by_field(client, teacher):
    with pytest.raises(ApiError, match="declared as 32 and looks like 64") as refused:
        client.confirm_teacher(teacher, {**MODEL, "head_width": 32})

    assert [error["pointer"] for error in refused.value.errors] == ["/classes", "/model/head_width"]


def test_an_upload_may_be_declared_in_part(client, tmp_path):
    (tmp_path / "big.pth").write_bytes(b"weights")
    upload = client.upload(tmp_path / "big.pth")

    named = client.add_teacher_from_upload("a", upload.id, classes=CLASSES)
    modelled = client.add_teacher_from_upload("b", upload.id, MODEL)

    assert (named.model, named.classes) == ({}, CLASSES)
    assert (modelled.model["head_width"], modelled.classes) == (64, ())
