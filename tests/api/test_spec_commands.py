"""`pgd check`, `pgd init` and specs as YAML, against a live server."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from api.cli import app
from pgd_core.jobs.template import FILL_IN, STARTERS


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Tables are as wide as they need to be."""
    monkeypatch.setattr("api.spec_commands.out._width", 300)


def yaml_of(world, **fields) -> str:
    lines = [f"{name}: {json.dumps(value)}" for name, value in world.train_spec(**fields).items()]
    return "# mine\n" + "\n".join(lines) + "\n"


def test_a_spec_in_yaml_is_checked_and_submitted(world, pgd, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(yaml_of(world, training={"epochs": 3}))

    said = pgd("check", file)

    assert said.splitlines()[0] == "valid"
    assert "MiB a GPU" in said
    assert "no job of kind train has ended in pool 'default' yet" in said
    assert "no_worker_in_pool" in said
    assert json.loads(pgd("ls", "--json"))["items"] == []
    job_id = pgd("submit", file).strip()
    assert json.loads(pgd("show", job_id, "--json"))["spec"]["training"]["epochs"] == 3


def test_a_check_as_json_is_the_services_answer(world, pgd):
    answer = json.loads(pgd("check", "-", "--json", stdin=yaml_of(world)))

    assert answer["valid"]
    assert answer["warnings"][0]["code"] == "no_worker_in_pool"


def test_submitting_tells_warnings_to_standard_error_only(world, url):
    result = CliRunner().invoke(app, ["--url", url, "submit", "-"], input=yaml_of(world))

    assert result.exit_code == 0
    assert (
        result.stdout.strip()
        == json.loads(CliRunner().invoke(app, ["--url", url, "ls", "--json"]).stdout)["items"][0][
            "id"
        ]
    )
    assert "warning: --pool: no worker served pool 'default' of late" in result.stderr
    assert "[no_worker_in_pool]" in result.stderr


@pytest.mark.parametrize("command", ["check", "submit"])
def test_every_error_is_told_with_its_line_and_ends_with_1(world, pgd, tmp_path, command):
    file = tmp_path / "spec.yaml"
    file.write_text(yaml_of(world) + "training:\n  epochs: 0\n  epohcs: 3\n")

    said = pgd(command, file, code=1).splitlines()

    start = len(yaml_of(world).splitlines())
    assert any(line.startswith(f"pgd: {file}:{start + 2}: /training/epochs: ") for line in said)
    (unknown,) = (line for line in said if f"{file}:{start + 3}: /training/epohcs: " in line)
    assert "did you mean 'epochs'?" in unknown
    assert json.loads(pgd("ls", "--json"))["items"] == []


def test_an_error_of_the_whole_spec_has_no_empty_pointer(world, pgd, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(f"kind: export\ndataset: {world.dataset()}\n")

    said = pgd("check", file, code=1)

    assert f"pgd: {file}: Value error, give the detector as `teacher` or as `job`" in said


def test_a_parameter_that_is_wrong_is_told_as_an_option(world, pgd):
    said = pgd("check", "-", "--team", "none", stdin=yaml_of(world), code=1)

    assert "pgd: --team: there is no team 'none'; there are default" in said


def test_a_file_that_is_no_spec_is_a_usage_error(pgd, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text("kind: train\nname: a\nname: b\n")

    said = pgd("check", file, code=2)

    assert "spec.yaml:3" in "".join(said.replace("│", "").split())
    assert "comes twice" in said


@pytest.mark.parametrize("kind", STARTERS)
def test_an_initial_spec_passes_the_check_once_its_ids_are_filled_in(world, pgd, tmp_path, kind):
    file = tmp_path / "spec.yaml"
    assert "fill in the ids" in pgd("init", kind, "--out", file)
    text = file.read_text()
    ids = {"dataset": world.dataset(), "teacher": world.teacher(), "teachers": world.teacher()}
    if kind == "export":
        ids["job"] = world.succeeded({"detector.safetensors": b"weights"})
    for name, value in ids.items():
        lines = text.splitlines()
        text = "\n".join(
            line.replace(FILL_IN, value) if line.startswith(f"{name}:") else line for line in lines
        )
    file.write_text(text)

    assert FILL_IN not in [line for line in text.splitlines() if not line.startswith("#")]
    assert pgd("check", file).startswith("valid")


def test_an_initial_spec_without_its_ids_is_refused_at_their_lines(pgd, tmp_path):
    file = tmp_path / "spec.yaml"
    pgd("init", "distill", "--out", file)

    said = pgd("check", file, code=1)

    line = file.read_text().splitlines().index('dataset: "FILL-IN"  # <- fill in') + 1
    assert f"{file}:{line}: /dataset: team 'default' has no data set FILL-IN" in said


def test_init_writes_to_standard_output_and_over_no_file(pgd, tmp_path):
    assert pgd("init", "train").startswith("# Train a detector plainly")
    assert json.loads(pgd("init", "study", "--json"))["kind"] == "study"
    file = tmp_path / "spec.yaml"
    file.write_text("mine")

    assert "there already" in pgd("init", "--out", file, code=2)
    assert file.read_text() == "mine"


def test_a_kind_that_is_none_is_a_usage_error_with_the_nearest_name(pgd):
    assert "did you mean 'distill'?" in " ".join(pgd("init", "distil", code=2).split())
