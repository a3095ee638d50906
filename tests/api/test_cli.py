"""The `pgd` command against a live server."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from api.cli import app
from pgd_core.jobs.run import ProgressLine


def test_a_job_is_submitted_from_a_file_listed_shown_and_cancelled(world, pgd, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(world.train_spec(name="mine")))

    job_id = pgd("submit", spec).strip()

    assert job_id in pgd("ls")
    assert json.loads(pgd("show", job_id, "--json"))["name"] == "mine"
    assert json.loads(pgd("ls", "--json", "--state", "queued"))["items"][0]["id"] == job_id
    assert "cancelled" in pgd("cancel", job_id)
    assert "cannot become cancelled" in pgd("cancel", job_id, code=1)


def test_a_spec_from_standard_input_is_only_checked_when_asked(world, pgd):
    spec = json.dumps(world.train_spec())

    assert pgd("submit", "-", "--validate-only", stdin=spec).strip() == "valid"
    assert json.loads(pgd("ls", "--json"))["items"] == []


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_spec_that_is_not_json_is_a_usage_error(pgd, text):
    pgd("submit", "-", stdin=text, code=2)


def test_a_refused_spec_is_told_in_a_sentence(pgd):
    said = pgd("submit", "-", stdin='{"kind": "paint"}', code=1)

    assert "distill" in said
    assert "Traceback" not in said


def test_watching_ends_with_the_job(world, pgd):
    job_id = world.succeeded({"metrics.json": b"{}"})

    assert "succeeded" in pgd("watch", job_id)
    last = pgd("watch", job_id, "--json").splitlines()[-1]
    assert json.loads(last)["result"]["detector"]["metrics"]["AP"] == 41.5


def test_watching_a_job_that_fails_ends_with_1(world, pgd):
    job_id = world.submitted()
    pgd("cancel", job_id)

    assert "cancelled" in pgd("watch", job_id, code=1)


def test_showing_a_result_is_a_table_with_files(world, pgd):
    job, claim = world.running()
    world.beat(claim, ProgressLine(type="validation", at="now", metrics={"AP": 1.0}))
    shown = pgd("show", world.succeeded({"metrics.json": b"{}"}))

    assert "41.5" in shown
    assert "metrics.json" in shown
    assert "running" in pgd("show", job.id)


def test_all_artifacts_or_some_are_downloaded(world, pgd, tmp_path):
    job_id = world.succeeded({"a.json": b"1", "b.json": b"2"})

    pgd("download", job_id, "--to", tmp_path / "all")
    one = json.loads(pgd("download", job_id, "b.json", "--to", tmp_path / "one", "--json"))

    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["a.json", "b.json"]
    assert one == [str(tmp_path / "one" / "b.json")]


def test_downloading_from_a_job_that_published_nothing_says_so(world, pgd, tmp_path):
    said = pgd("download", world.submitted(), "--to", tmp_path / "none", code=1)

    assert "is queued and has published nothing" in said
    assert not (tmp_path / "none").exists()


def test_a_setting_that_cannot_be_is_told_by_its_name(pgd, tmp_path, monkeypatch):
    monkeypatch.setenv("PGD_LEASE_S", "soon")

    said = pgd("up", "--data-folder", tmp_path, "--port", 99_999, code=2)

    assert "PGD_LEASE_S" in said
    assert "PGD_PORT" in said


def test_data_sets_and_teachers_are_added_and_listed(world, pgd, tmp_path):
    job_id = world.succeeded({"detector.safetensors": b"weights"})
    checkpoint, declaration = tmp_path / "big.pth", tmp_path / "big.json"
    checkpoint.write_bytes(b"weights")
    model = {"detector": "fcos", "backbone": {"name": "resnet50"}}
    declaration.write_text(json.dumps({"model": model, "classes": ["cat"]}))

    assert "checking" in pgd("data", "add", "mine", world.folder(), "--no-wait")
    assert "mine" in pgd("data", "ls")
    assert "ready" in pgd("teacher", "add", "one", "--job", job_id)
    said = pgd(
        "teacher", "add", "two", "--file", checkpoint, "--declaration", declaration, "--no-wait"
    )
    assert "checking" in said
    assert "two" in pgd("teacher", "ls")
    pgd("teacher", "add", "three", code=2)


def test_a_service_that_is_not_there_is_told_in_a_sentence():
    result = CliRunner().invoke(app, ["--url", "http://127.0.0.1:1", "ls"])

    assert result.exit_code == 1
    assert "pgd up" in result.output


def test_a_rejected_data_set_is_told_with_its_findings(world, pgd, monkeypatch):
    library = world.services.library
    added = library.add_dataset

    def rejected(*parts, **paths):
        dataset = added(*parts, **paths)
        finding = {"code": "bad_box", "pointer": "/annotations/3", "message": "w is 0"}
        report = {"errors": [finding]}
        library.dataset_checked(dataset.id, usable=False, report=report, sha256="", classes=())
        return dataset

    monkeypatch.setattr(library, "add_dataset", rejected)

    said = pgd("data", "add", "mine", world.folder(), code=1)

    assert "bad_box: /annotations/3: w is 0" in said
