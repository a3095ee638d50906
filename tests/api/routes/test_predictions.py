"""Pictures over HTTP: through a real exported file, in a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from api.errors import Busy, TooSlow
from api.predicting import Predictor
from pgd_core.predict import Limits
from tests.api.answers import problem_of
from tests.api.registered import export_of, model_of
from tests.pgd_core.predict.conftest import write_model
from tests.pgd_core.predict.test_init import bomb, encoded

JPEG, PNG = {"Content-Type": "image/jpeg"}, {"Content-Type": "image/png"}


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The whole picture is a cat of 0.9, its left upper corner a dog of 0.2."""
    return write_model(tmp_path_factory.mktemp("graph") / "student-nms.onnx").read_bytes()


@pytest.fixture
def model(world, graph):
    """A model with an export."""
    made = model_of(world)
    export_of(world, made, graph)
    return made


@pytest.fixture
def ask(world, model):
    def ask(content=None, headers=PNG, **query):
        picture = encoded(Image.new("RGB", (300, 150))) if content is None else content
        url = f"/v1/models/{model['id']}:predict"
        return world.http.post(url, content=picture, headers=headers, params=query)

    return ask


def limited(world, **limits):
    """Limits of this server; at most two predictions at once."""
    chosen = replace(world.services.predictor.limits, **limits)
    world.app.state.services = replace(world.services, predictor=Predictor(chosen, 2))


def test_boxes_come_best_first_in_the_pictures_own_pixels(world, model, ask):
    answer = ask(score_threshold=0.1)

    assert answer.status_code == 200, answer.text
    told = answer.json()
    export = world.http.get(f"/v1/models/{model['id']}").json()["export_job"]
    assert (told["model"], told["export_job"]) == (model["id"], export)
    cat, dog = told["found"]
    assert (cat["label"], cat["box"]) == ("cat", pytest.approx([0, 0, 300, 150]))
    assert (dog["label"], dog["score"]) == ("dog", pytest.approx(0.2))
    assert dog["box"] == pytest.approx([0, 0, 18.75, 18.75])
    assert [each["label"] for each in ask().json()["found"]] == ["cat"]


def test_a_jpeg_is_taken_too(ask):
    picture = encoded(Image.new("RGB", (40, 30)), "JPEG")

    assert ask(picture, JPEG).json()["found"][0]["box"] == pytest.approx([0, 0, 40, 30])


@pytest.mark.parametrize(
    ("accept", "query"),
    [("image/png", {}), ("*/*", {"draw": True}), ("application/json;q=0.5, image/png", {})],
)
def test_the_drawn_picture_comes_to_those_who_ask_for_it(ask, accept, query):
    answer = ask(headers=PNG | {"Accept": accept}, **query)

    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as drawing:
        assert drawing.size == (300, 150)
        assert drawing.getpixel((0, 75)) == (255, 0, 0)


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "image/png;q=0", "image/png;q=0.1, application/json"]
)
def test_boxes_come_to_all_others(ask, accept):
    assert ask(headers=PNG | {"Accept": accept}).json()["found"]


def test_a_viewer_may_ask_and_nothing_is_put_on_record(world, model, ask):
    before = len(world.http.get("/v1/audit").json()["items"])
    url = f"/v1/models/{model['id']}:predict"
    picture = encoded(Image.new("RGB", (8, 8)))

    assert world.of("viewer").post(url, content=picture, headers=PNG).status_code == 200
    assert ask().status_code == 200
    assert len(world.http.get("/v1/audit").json()["items"]) == before
    hidden = world.of("admin", "b").post(url, content=picture, headers=PNG)
    problem_of(hidden, 404, "not_found")


def test_a_model_without_an_export_says_how_to_get_one(world):
    model = model_of(world)

    url = f"/v1/models/{model['id']}"

    def refusal():
        answer = world.http.post(f"{url}:predict", content=b"x", headers=PNG)
        return problem_of(answer, 409, "not_ready")["detail"]

    assert f"POST {url}:export" in refusal()
    job = world.http.post(f"{url}:export").json()["id"]
    assert f"job {job} is queued" in refusal()
    assert ":export" not in refusal()
    world.http.post(f"/v1/jobs/{job}:cancel")
    assert f"the last try, job {job}, cancelled; POST {url}:export" in refusal()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a picture", "no picture of JPEG, PNG"),
        (encoded(Image.new("RGB", (8, 8)), "TIFF"), "no picture of JPEG, PNG"),
        (encoded(Image.new("RGB", (64, 64)))[:60], "cannot be read"),
        (bomb(60_000, 60_000), "60000 x 60000 pixels"),
    ],
    ids=["text", "another format", "cut off", "bomb"],
)
def test_what_is_no_usable_picture_is_refused(ask, content, said):
    assert said in problem_of(ask(content), 422, "bad_picture")["detail"]


@pytest.mark.parametrize("given", ["", "application/json", "text/plain", "image/tiff"])
def test_what_is_not_called_a_picture_is_refused(ask, given):
    problem_of(ask(headers={"Content-Type": given}), 415, "unsupported_media_type")


def test_nothing_is_no_picture(ask):
    problem_of(ask(b""), 400, "bad_request")


def test_a_picture_with_too_many_bytes_is_refused_whether_or_not_its_size_was_told(world, ask):
    limited(world, max_bytes=1000)

    problem_of(ask(b"x" * 1001), 413, "too_large")
    problem_of(ask(iter([b"x" * 600, b"x" * 600])), 413, "too_large")


def test_a_picture_may_be_larger_than_other_bodies(ask):
    noise = Image.effect_noise((1500, 1500), 100)
    content = encoded(noise)
    assert len(content) > 1024 * 1024

    assert ask(content).status_code == 200


def test_bodies_of_other_requests_to_such_an_address_are_capped_as_ever(world, model):
    url = f"/v1/models/{model['id']}:predict"

    for method, address in (("PATCH", url), ("POST", "/v1/jobs/x:predict")):
        answer = world.http.request(method, address, content=b"x" * (1024 * 1024 + 1))
        problem_of(answer, 413, "too_large")


def test_a_picture_with_too_many_pixels_is_refused(world, ask):
    limited(world, max_pixels=44_999)

    assert "44999 in all" in problem_of(ask(), 422, "bad_picture")["detail"]


def test_what_takes_too_long_is_a_timeout(world, ask):
    limited(world, time_s=0.05)

    assert "longer than 0.05 s" in problem_of(ask(), 504, "prediction_timed_out")["detail"]


def test_what_needs_too_much_memory_fails(world, ask):
    limited(world, memory_bytes=200 * 2**20, threads=1)

    problem_of(ask(encoded(Image.new("RGB", (5_000, 5_000)))), 503, "prediction_failed")


def test_a_file_that_is_no_graph_fails_in_words(world):
    model = model_of(world)
    export_of(world, model, b"no protobuf")
    picture = encoded(Image.new("RGB", (8, 8)))

    answer = world.http.post(f"/v1/models/{model['id']}:predict", content=picture, headers=PNG)

    assert "cannot be loaded" in problem_of(answer, 503, "prediction_failed")["detail"]


def test_more_pictures_than_are_looked_at_at_once_are_told_to_come_again(world, ask):
    predictor = world.services.predictor
    with contextlib.ExitStack() as busy:
        for _ in range(world.settings.predictions):
            busy.enter_context(predictor.looking())
        answer = ask()
        problem_of(answer, 503, "busy")
        assert answer.headers["retry-after"] == "2"
    assert ask().status_code == 200


def test_a_place_is_given_back_when_a_picture_is_refused(world, ask):
    for _ in range(world.settings.predictions + 1):
        problem_of(ask(b"none"), 422, "bad_picture")
    assert ask().status_code == 200


async def never():
    await asyncio.Event().wait()
    yield b""


def test_a_picture_that_does_not_arrive_is_not_waited_for_and_few_are_awaited_at_once():
    predictor = Predictor(Limits(time_s=0.05), at_once=1)

    async def all_at_once():
        waiting = [predictor.received(never()) for _ in range(5)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    errors = asyncio.run(all_at_once())

    assert sorted(type(error).__name__ for error in errors) == ["Busy"] + ["TooSlow"] * 4
    assert {type(error) for error in errors} == {Busy, TooSlow}


def test_a_detector_that_was_really_exported_is_asked(world, tmp_path: Path):
    model = model_of(world)
    export_of(world, model, _exported(tmp_path))
    picture = encoded(Image.effect_noise((90, 60), 80).convert("RGB"))

    answer = world.http.post(
        f"/v1/models/{model['id']}:predict?score_threshold=0", content=picture, headers=PNG
    )

    found = answer.json()["found"]
    assert len(found) >= 3
    assert {each["label"] for each in found} <= {"cat", "dog", "bird"}
    for each in found:
        left, top, right, bottom = each["box"]
        assert 0 <= left <= right <= 90.01
        assert 0 <= top <= bottom <= 60.01


def _exported(folder: Path) -> bytes:
    """A narrow GFL with random weights, as an export job writes it."""
    import torch

    from pgd_core.detectors.build import PIXEL_MEAN, PIXEL_STD, build_detector
    from pgd_core.detectors.onnx_file import write_complete
    from pgd_core.detectors.onnx_model import CompleteDetector, DenseDetector, Selection
    from tests.pgd_core.detectors.batches import make_seeing, small_spec

    torch.manual_seed(5)
    spec = small_spec("gfl", "mobilenet_v2", width=0.25)
    dense = DenseDetector(make_seeing(build_detector(spec, 3)))
    preprocessing = {
        "long_side": 96,
        "short_side": 64,
        "mean": PIXEL_MEAN,
        "std": PIXEL_STD,
        "size_divisor": 32,
    }
    about = {"preprocessing": preprocessing, "classes": ["cat", "dog", "bird"]}
    path = folder / "student-nms.onnx"
    write_complete(CompleteDetector(dense, Selection(0.05, 0.6, 50, 100)), path, about)
    return path.read_bytes()
