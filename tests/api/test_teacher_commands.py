"""`pgd teacher` against a live server."""

from __future__ import annotations

import json

import pytest

from api.teacher_commands import class_names
from api.teacher_tables import classes_line
from tests.api.conftest import CLASSES
from tests.api.recognised import recognise, unconfirmed


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Tables are as wide as they need to be."""
    monkeypatch.setattr("api.teacher_commands.out._width", 240)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "big.pth"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def checks(world, monkeypatch):
    """Each teacher is recognised as soon as it is registered; `seen` changes as what."""
    seen, library = {}, world.services.library
    added = library.add_teacher

    def add_and_recognise(*parts, **more):
        teacher = added(*parts, **more)
        if teacher.upload:
            recognise(world, teacher.id, **seen)
        return teacher

    monkeypatch.setattr(library, "add_teacher", add_and_recognise)
    return seen


def only(world):
    (teacher,) = world.services.library.teachers()
    return teacher


@pytest.mark.usefixtures("checks")
def test_what_is_recognised_is_shown_and_confirmed_when_asked(world, pgd, checkpoint):
    said = pgd("teacher", "add", "big", "--file", checkpoint, stdin="y\n")

    teacher = only(world)
    assert (teacher.state, teacher.classes) == ("ready", CLASSES)
    assert said.splitlines()[-1] == f"{teacher.id} ready"
    rows = [line.split() for line in said.splitlines()]
    assert ["detector", "fcos"] in rows
    assert ["backbone", "resnet18"] in rows
    assert ["classes", "2:", "cat,", "dog"] in rows


@pytest.mark.usefixtures("checks")
@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_a_yes_it_stays_unconfirmed_and_the_way_is_told(world, pgd, checkpoint, answer):
    said = pgd("teacher", "add", "big", "--file", checkpoint, stdin=answer, code=1)

    teacher = only(world)
    assert teacher.state == "unconfirmed"
    assert f"pgd teacher confirm {teacher.id}" in said


def test_names_that_were_not_recognised_are_asked_for(world, pgd, checkpoint, checks):
    checks["class_names"] = None

    pgd("teacher", "add", "big", "--file", checkpoint, stdin="y\nowl, eel\n")

    assert only(world).classes == ("owl", "eel")


def test_yes_confirms_unasked_and_says_what_is_missing(world, pgd, checkpoint, checks):
    teacher = json.loads(pgd("teacher", "add", "big", "--file", checkpoint, "--yes", "--json"))
    assert (teacher["state"], teacher["classes"]) == ("ready", ["cat", "dog"])

    checks["class_names"] = None
    said = pgd("teacher", "add", "two", "--file", checkpoint, "--yes", code=1)
    assert "the names of its 2 classes were not recognised" in said
    newest = world.services.library.teachers()[0]
    assert f"pgd teacher confirm {newest.id} --classes a,b,c" in said


@pytest.mark.usefixtures("checks")
def test_as_json_nothing_is_asked(world, pgd, checkpoint):
    said = pgd("teacher", "add", "big", "--file", checkpoint, "--json", code=1)

    assert '"state": "unconfirmed"' in said
    assert only(world).state == "unconfirmed"


def test_classes_and_a_declaration_are_sent_along(world, pgd, checkpoint, checks, tmp_path):
    (tmp_path / "names").write_text("owl, grey\neel\n\n")
    model = {"detector": "fcos", "backbone": {"name": "resnet18"}, "head_width": 64}
    (tmp_path / "declaration.json").write_text(json.dumps({"model": model}))
    checks["class_names"] = None

    said = ["--classes", tmp_path / "names", "--declaration", tmp_path / "declaration.json"]
    pgd("teacher", "add", "big", "--file", checkpoint, *said)

    assert only(world).classes == ("owl, grey", "eel")
    assert only(world).model["norm_groups"] == 32


def test_a_rejected_file_is_told_why_without_steering_the_terminal(
    world, pgd, checkpoint, monkeypatch
):
    library = world.services.library
    added = library.add_teacher

    def add_and_reject(*parts, **more):
        teacher = added(*parts, **more)
        library.teacher_checked(teacher.id, message="unexpected tensors: \x1b[2Jfc")
        return teacher

    monkeypatch.setattr(library, "add_teacher", add_and_reject)

    said = pgd("teacher", "add", "big", "--file", checkpoint, code=1)

    assert "unexpected tensors" in said
    assert "\x1b" not in said
    assert "\x1b" not in pgd("teacher", "show", only(world).id)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--job", "a", "--file", "b"],
        ["--job", "a", "--classes", "cat"],
        ["--file", "{file}", "--declaration", "{folder}/layers"],
        ["--file", "{file}", "--declaration", "{folder}/classes"],
        ["--file", "{file}", "--declaration", "{folder}/model"],
    ],
)
def test_what_cannot_be_added_is_a_usage_error(pgd, checkpoint, tmp_path, options):
    for name, value in (("layers", 9), ("classes", "cat"), ("model", ["fcos"])):
        (tmp_path / name).write_text(json.dumps({name: value}))
    paths = {"file": checkpoint, "folder": tmp_path}

    pgd("teacher", "add", "big", *(option.format(**paths) for option in options), code=2)


def test_a_teacher_is_listed_shown_confirmed_evaluated_and_removed(world, pgd):
    teacher_id = unconfirmed(world, notes=["[bold]the predictors' names[/bold]"])

    assert "fcos on resnet18?" in pgd("teacher", "ls")
    shown = pgd("teacher", "show", teacher_id)
    assert f"pgd teacher confirm {teacher_id}" in shown
    assert "[bold]the predictors' names[/bold]" in shown
    assert json.loads(pgd("teacher", "show", teacher_id, "--json"))["recognised"]["classes"] == 2
    wrong = pgd("teacher", "confirm", teacher_id, "--classes", "cat", code=1)
    assert "classes is declared as 1 and looks like 2" in wrong
    assert pgd("teacher", "confirm", teacher_id).strip() == f"{teacher_id} ready"
    assert json.loads(pgd("teacher", "confirm", teacher_id, "--json"))["state"] == "ready"
    assert "fcos on resnet18 " in pgd("teacher", "ls")
    assert json.loads(pgd("teacher", "ls", "--json"))["items"][0]["id"] == teacher_id

    options = ["--name", "how good", "--priority", "high", "--key", "one"]
    dataset = world.dataset()
    job_id = pgd("teacher", "evaluate", teacher_id, dataset, *options).strip()
    job = json.loads(pgd("teacher", "evaluate", teacher_id, dataset, *options, "--json"))
    assert (job["id"], job["name"], job["priority"]) == (job_id, "how good", "high")

    assert "needed by" in pgd("teacher", "rm", teacher_id, "--yes", code=1)
    pgd("cancel", job_id)
    assert "nothing was deleted" in pgd("teacher", "rm", teacher_id, stdin="n\n", code=1)
    assert "nothing was deleted" in pgd("teacher", "rm", teacher_id, stdin="", code=1)
    assert json.loads(pgd("teacher", "rm", teacher_id, "--yes", "--json"))["deleted"] is True
    assert pgd("teacher", "ls", "--json").count(teacher_id) == 0
    assert "no teacher" in pgd("teacher", "show", teacher_id, code=1)


def test_names_come_from_a_list_or_a_file(tmp_path):
    (tmp_path / "names").write_text("a\n b c \n\n")

    assert class_names(str(tmp_path / "names")) == ["a", "b c"]
    assert class_names(" a,b c, ") == ["a", "b c"]
    assert class_names(",".join(f"class {n}" for n in range(1000)))[-1] == "class 999"


def test_of_many_classes_some_are_named():
    assert classes_line([str(n) for n in range(3)]) == "3: 0, 1, 2"
    assert classes_line([str(n) for n in range(80)]).endswith("10, 11, … (68 more)")
