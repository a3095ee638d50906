"""What holds for every command: --json, exit codes, completion, and a place in docs/client.md."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from api.cli import app
from api.client import Client

PAGE = (Path(__file__).parents[2] / "docs/client.md").read_text(encoding="utf-8")
# They run until they are stopped or show progress for an hour, and print no answer.
NO_ANSWER = {("up",), ("demo",), ("replica",)}


def commands(
    group: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or get_command(app)
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


ALL = dict(commands())
METHODS = [
    name
    for name, _ in inspect.getmembers(Client, inspect.isfunction)
    if not name.startswith("_") and name != "close"
]


def test_there_are_commands_in_groups_and_outside():
    assert len(ALL) > 25
    assert ("keys", "add") in ALL


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_that_answers_can_answer_in_json(path):
    options = {option for parameter in ALL[path].params for option in parameter.opts}

    assert ("--json" in options) is (path not in NO_ANSWER)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_says_what_it_does_and_has_an_example(path):
    assert (ALL[path].help or "").strip().endswith(".")
    assert re.search(rf"^pgd {' '.join(path)}( |$)", PAGE, re.M), "docs/client.md has no example"


@pytest.mark.parametrize("name", METHODS)
def test_every_call_of_the_client_has_an_example(name):
    assert f"client.{name}(" in PAGE, "docs/client.md has no example"


def test_every_code_of_a_warning_is_on_the_page_and_nothing_else():
    folder = Path(__file__).parents[2] / "pgd_core/jobs"
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*advice.py"))
    found = set(re.findall(r'Advice\(\s*"(\w+)"', code))

    section = PAGE.partition("| Code | When |")[2].partition("\n\n")[0]
    told = {name for line in section.splitlines() for name in re.findall(r"`(\w+_\w+)`", line[:60])}
    assert len(found) > 15
    assert told - {"inherit_head"} == found


def test_the_examples_of_the_page_name_nothing_that_is_not_there():
    known = set(METHODS)
    assert set(re.findall(r"client\.(\w+)\(", PAGE)) <= known
    for line in re.findall(r"^pgd ([a-z -]+)", PAGE, re.M):
        words = tuple(line.split())
        assert words[:1] in ALL or words[:2] in ALL, line


def test_every_option_of_an_example_exists():
    for line in re.findall(r"^pgd ([a-z].*)$", PAGE, re.M):
        words = line.split("#")[0].split()
        command = ALL.get(tuple(words[:2])) or ALL[tuple(words[:1])]
        parameters = [p for p in command.params for p in (*p.opts, *p.secondary_opts)]
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in parameters, (line, word)


def test_the_help_and_the_page_tell_the_exit_codes():
    told = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())

    assert "Exit codes: 0 done; 1 the service refused" in told
    for code in "012":
        assert re.search(rf"^\| {code} \|", PAGE, re.M)


def test_exit_codes_are_as_told(world, pgd):
    job_id = world.submitted()

    pgd("show", job_id, code=0)
    pgd("show", "none", code=1)
    pgd("show", code=2)
    pgd("shwo", job_id, code=2)
    pgd("cancel", job_id)
    pgd("watch", job_id, code=1)
    unreached = CliRunner().invoke(app, ["--url", "http://127.0.0.1:1", "ls"])
    assert unreached.exit_code == 1


def test_a_command_that_is_none_is_answered_with_the_nearest_name(pgd):
    assert "Did you mean 'submit'" in pgd("sumbit", code=2)


def completed(*words: str, **environment: str) -> list[str]:
    """What bash is told to complete after these words."""
    line = {"COMP_WORDS": " ".join(["pgd", *words]), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-c", "from api.cli import app; app(prog_name='pgd')"],
        env={**os.environ, "_PGD_COMPLETE": "complete_bash", **line, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_ids_of_jobs(world, url):
    first, second = world.submitted(), world.submitted()

    assert completed("che") == ["check"]
    assert completed("watch", first[:-1], PGD_URL=url) == [
        job_id for job_id in (second, first) if job_id.startswith(first[:-1])
    ]
    assert completed("watch", "none", PGD_URL=url) == []


def test_completion_is_quiet_where_no_service_answers():
    assert completed("watch", "0", PGD_URL="http://127.0.0.1:1") == []


def test_the_completion_is_installed_for_bash(tmp_path):
    code = "from api.cli import app; app(['--install-completion', 'bash'], prog_name='pgd')"
    # Else the option takes no shell's name, and looks at which one called it.
    own = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}

    subprocess.run([sys.executable, "-c", code], env={**os.environ, **own}, check=True)

    script = f"source {tmp_path}/.bashrc; complete -p pgd"
    loaded = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "complete -o default -F _pgd_completion pgd"


def test_a_first_key_is_printed_as_json_too(tmp_path, migrated, monkeypatch):
    monkeypatch.setenv("PGD_DATABASE_URL", f"sqlite:///{tmp_path / 'own.sqlite'}")
    (tmp_path / "own.sqlite").write_bytes(migrated.read_bytes())

    result = CliRunner().invoke(app, ["keys", "init", "--json"])

    assert json.loads(result.stdout)["secret"].startswith("pgd_")
