"""The Python client against a live server."""

from __future__ import annotations

import socket

import httpx
import pytest

from api.client import ApiError, Client
from pgd_core.jobs.job import Reason
from pgd_core.jobs.run import ProgressLine
from tests.api.conftest import MODEL


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


def test_a_data_set_is_registered_and_waited_for(world, client):
    dataset = client.add_dataset("digits", world.folder())
    world.services.library.dataset_checked(
        dataset.id, usable=True, report={}, sha256="1", classes=("a",)
    )

    assert client.wait_for_dataset(dataset.id).classes == ("a",)
    assert [item.id for item in client.datasets().items] == [dataset.id]


def test_waiting_for_a_check_that_nobody_makes_ends(world, client):
    with pytest.raises(TimeoutError, match="does the reconciler run"):
        client.wait_for_dataset(world.dataset(ready=False), interval_s=0, timeout_s=0)


def test_a_job_goes_its_way(world, client):
    job = client.submit(world.train_spec(name="mine"), idempotency_key="one")

    assert client.submit(job.spec, idempotency_key="one").id == job.id
    assert client.validate(job.spec).spec == job.spec
    assert client.job(job.id).queue_position == 1
    assert [item.id for item in client.jobs(state="queued").items] == [job.id]
    assert client.events(job.id).items[0].kind == "submitted"
    assert client.cancel(job.id).state == "cancelled"


def test_watching_shows_each_change_until_the_end(world, client):
    job, claim = world.running()
    watched = client.watch(job.id, interval_s=0)

    first = next(watched)
    world.beat(claim, ProgressLine(type="train", at="now", done=0.5, eta_s=3))
    second = next(watched)
    world.services.jobs.finish(claim, Reason.DIVERGED, "loss_cls is NaN")
    third = next(watched)

    assert (first.state, first.done) == ("running", 0.0)
    assert (second.done, second.eta_s) == (0.5, 3.0)
    assert (third.state, third.reason, third.message) == ("failed", "diverged", "loss_cls is NaN")
    assert list(watched) == []
    assert client.metrics(job.id).items[0].done == 0.5


def test_watching_a_job_that_does_not_exist_fails_at_once(client):
    with pytest.raises(ApiError, match="none"):
        list(client.watch("none"))


def test_teachers_come_from_jobs_and_from_files(world, client, tmp_path):
    job_id = world.succeeded({"detector.safetensors": b"weights"})
    file = tmp_path / "big.pth"
    file.write_bytes(b"weights" * 5000)

    from_job = client.add_teacher_from_job("one", job_id)
    upload = client.upload(file)
    from_upload = client.add_teacher_from_upload("two", upload.id, MODEL, ["cat"])

    assert (from_job.state, from_upload.state) == ("ready", "checking")
    assert (upload.filename, upload.size) == ("big.pth", 35_000)
    assert client.wait_for_teacher(from_job.id) == from_job
    assert [item.name for item in client.teachers().items] == ["two", "one"]


def test_an_upload_waits_longer_for_its_answer_than_a_question_does(client, tmp_path, monkeypatch):
    file, sent = tmp_path / "big.pth", []
    file.write_bytes(b"weights")
    request = client._http.request

    def noted(method, path, **rest):
        sent.append(rest.get("timeout"))
        return request(method, path, **rest)

    monkeypatch.setattr(client._http, "request", noted)
    client.upload(file)

    assert sent[0].read > 10 * client._http.timeout.read


def test_a_download_arrives_whole_under_its_name(world, client, tmp_path):
    content = b"weights" * 300_000
    job_id = world.succeeded({"detector.safetensors": content})

    into_folder = client.download(job_id, "detector.safetensors", tmp_path)
    as_file = client.download(job_id, "detector.safetensors", tmp_path / "mine")

    assert into_folder == tmp_path / "detector.safetensors"
    assert into_folder.read_bytes() == as_file.read_bytes() == content


def test_a_download_that_was_changed_leaves_nothing(world, client, tmp_path):
    job_id = world.succeeded({"detector.safetensors": b"weights"})
    key = world.services.jobs.artifact(job_id, "detector.safetensors").key
    world.services.files.path(key).write_bytes(b"WEIGHTS")

    with pytest.raises(ApiError, match="arrived with sha256"):
        client.download(job_id, "detector.safetensors", tmp_path / "mine")

    assert not [path for path in tmp_path.iterdir() if "mine" in path.name]


def test_a_refusal_is_an_error_with_the_problems_words(world, client, tmp_path):
    with pytest.raises(ApiError, match="no artifact 'x'") as caught:
        client.download(world.submitted(), "x", tmp_path)
    assert caught.value.status == 404

    with pytest.raises(ApiError) as caught:
        client.submit({"kind": "train", "dataset": "x"})
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")
    assert caught.value.errors[0]["pointer"] == "/model"


def test_a_service_that_is_not_there_is_told_so():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ApiError, match="pgd up"):
        client.jobs()


def test_an_answer_of_something_else_is_told_as_it_is():
    def proxy(_request):
        return httpx.Response(502, text="<html>bad gateway")

    with Client("http://127.0.0.1:1") as client:
        client._http = httpx.Client(base_url="http://x", transport=httpx.MockTransport(proxy))
        with pytest.raises(ApiError, match="HTTP 502"):
            client.jobs()


def test_the_logs_end_is_read(world, client):
    job, _ = world.running()
    folder = world.services.attempt_folder(job.id, 1)
    folder.mkdir(parents=True)
    (folder / "trainer.log").write_text("loading\n")

    assert client.logs(job.id) == client.logs(job.id, attempt=1) == "loading\n"


@pytest.mark.parametrize("address", ["http://host:port", "http://[::1"])
def test_an_address_that_is_none_is_told(address):
    with pytest.raises(ApiError, match="is no address of a service"):
        Client(address)


def test_an_id_that_cannot_be_part_of_an_address_is_told(client):
    with pytest.raises(ApiError, match="is no address"):
        client.job("two\nlines")


def test_an_answer_of_another_service_is_told(client, monkeypatch):
    def other(_request):
        return httpx.Response(200, text="<html>log in</html>")

    monkeypatch.setattr(
        client, "_http", httpx.Client(base_url="http://x", transport=httpx.MockTransport(other))
    )
    with pytest.raises(ApiError, match="is that the service's address"):
        client.jobs()
