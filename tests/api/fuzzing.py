"""Schemathesis against a running API: what it is told, and what it found.

It is a process of its own, set up by a file, so that any run can be repeated by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.api.fuzzing_hooks import ENDED_JOBS, KEYS_IN_USE
from tests.api.live import ROOT, Live

SEED = 20261128
# A refusal is right where it says why: that the data is wrong, the thing unknown, or not allowed.
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 416, 422]
HIT = 0.8  # how often a name is that of a thing which exists


@dataclass(frozen=True)
class Answer:
    """One answer that the API gave."""

    operation: str  # "GET /v1/jobs"
    status: int


@dataclass(frozen=True)
class Findings:
    """What a run came to."""

    failed: bool
    report: str
    answers: list[Answer]

    def operations(self, *, below: int = 600) -> set[str]:
        """Those that gave an answer of a status below this."""
        return {answer.operation for answer in self.answers if answer.status < below}


@dataclass(frozen=True)
class Run:
    """What is asked, and how much."""

    examples: int  # of each operation
    whose: str = "operator"  # the key
    coverage: bool = True  # every boundary of every field, one at a time
    links: bool = True  # go on with the ids that answers hold
    coverage_of_specs: bool = False  # of a job's spec too, which alone has thousands
    seed: int = SEED


def fuzz(live: Live, run: Run) -> Findings:
    """Ask every operation of the API's own document."""
    folder = live.folder / f"fuzzing-{run.whose}"
    folder.mkdir()
    (folder / "schemathesis.toml").write_text(configuration(live, run))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        KEYS_IN_USE: ",".join(live.key_ids),
        ENDED_JOBS: ",".join(live.ended_ids),
    }
    found = subprocess.run(
        [*command, "run", f"{live.url}/openapi.json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    events = folder / "events.ndjson"
    answers = list(_answers(events)) if events.exists() else []
    return Findings(found.returncode != 0, found.stdout + found.stderr, answers)


def configuration(live: Live, run: Run) -> str:
    """The settings of a run, TOML."""
    settings = {
        "hooks": "tests.api.fuzzing_hooks",
        "seed": run.seed,
        "continue-on-failure": True,
        "request-timeout": 20,
        "max-stream-events": 3,  # of a stream that does not end
        "headers.Authorization": f"Bearer {live.secrets[run.whose]}",
        "generation.max-examples": run.examples,
        "generation.database": "none",
        "generation.no-shrink": run.examples < 50,
        "generation.with-security-parameters": False,
        "phases.coverage.enabled": run.coverage,
        "phases.stateful.enabled": run.links,
        "checks.negative_data_rejection.expected-statuses": REFUSALS,
        "checks.positive_data_acceptance.enabled": False,  # what is well-formed may still not exist
        "checks.ignored_auth.enabled": False,  # tests/api/test_access.py asks that of every route
        "warnings": False,
        "reports.ndjson.path": "events.ndjson",
        "cache.enabled": False,
        "output.truncation.enabled": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    named = {f"path.{name}": ids for name, ids in live.ids.items() if not name.startswith("/")}
    for number, (where, values) in enumerate((named | live.values).items()):
        lines += _words(f"words{number}", where, values)
    for number, (path, values) in enumerate(live.ids.items()):
        if path.startswith("/"):
            lines += [f"dictionaries.names{number} = {{values = {json.dumps(values)}}}"]
    lines += _operations(live, run)
    return "\n".join(lines) + "\n"


def _words(name: str, where: str, values: list[str]) -> list[str]:
    """Values that a parameter, or a field of a body, often has."""
    return [
        f"dictionaries.{name} = {{values = {json.dumps(values)}}}",
        f'parameters."{where}" = {{dictionary = "{name}", probability = {HIT}}}',
    ]


def _operations(live: Live, run: Run) -> list[str]:
    """`name` is another thing's in each part of the API; and specs have more fields than time."""
    lines = ["[[operations]]", 'include-path = "/v1/keys/{key_id}"']  # a revoked key is still shown
    lines += ["checks.use_after_free.enabled = false"]
    for number, path in enumerate(live.ids):
        if path.startswith("/"):
            lines += [
                "[[operations]]",
                f'include-path-regex = "^{path}"',
                f'parameters."path.{live.named[path]}" = '
                f'{{dictionary = "names{number}", probability = {HIT}}}',
            ]
    if not run.coverage_of_specs:
        lines += ["[[operations]]", 'include-name = "POST /v1/jobs"']
        lines += ["phases.coverage.enabled = false"]
    return lines


def _answers(events: Path) -> Iterator[Answer]:
    with events.open() as lines:
        for line in lines:
            recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
            for case_id, case in recorder.get("cases", {}).items():
                answer = recorder["interactions"].get(case_id, {}).get("response")
                if answer is not None:
                    value = case["value"]
                    operation = f"{value['method']} {value['path']}"
                    yield Answer(operation, answer["status_code"])
