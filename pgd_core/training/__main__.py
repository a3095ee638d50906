"""The trainer: `python -m pgd_core.training spec.json FOLDER`, or the same under torchrun.

Reads a `RunSpec`, fills FOLDER as `pgd_core.jobs.run` says. Exit status: 0 succeeded, 1 failed,
3 stopped with a checkpoint; `outcome.json` has the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgd_core.errors import InvalidSpec, PgdError, RunFailed, StoppedBySignal
from pgd_core.jobs.run import OUTCOME_FILE, Outcome, RunSpec

EXIT = {"succeeded": 0, "failed": 1, "stopped": 3}


def main() -> int:
    """Run one attempt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path, help="a RunSpec as JSON")
    parser.add_argument("folder", type=Path, help="where everything is written")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        (arguments.folder / OUTCOME_FILE).unlink(missing_ok=True)
    outcome = _attempt(arguments.spec, arguments.folder)
    if rank == 0 or outcome.status == "failed":
        _leave(outcome, arguments.folder, rank)
    print(f"{outcome.status}: {outcome.message or outcome.reason}", flush=True)  # noqa: T201
    return EXIT[outcome.status]


def _attempt(spec: Path, folder: Path) -> Outcome:
    try:
        run = _read(spec)
        if run.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before MMEngine looks for a GPU
        from pgd_core.training.process import run_in_process

        return Outcome(
            status="succeeded", reason="completed", result=run_in_process(run, folder.resolve())
        )
    except StoppedBySignal as error:
        return Outcome(status="stopped", reason=error.code, message=error.message)
    except PgdError as error:
        traceback.print_exc()
        code = error.code if isinstance(error, RunFailed | InvalidSpec) else "internal_error"
        return Outcome(status="failed", reason=code, message=error.message)
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        return Outcome(status="failed", reason="internal_error", message=message)


def _leave(outcome: Outcome, folder: Path, rank: int) -> None:
    """Write the outcome, unless another process has told the cause: ours is its consequence."""
    if (folder / OUTCOME_FILE).exists():
        return
    tmp = folder / f".{OUTCOME_FILE}.{rank}.tmp"
    tmp.write_text(outcome.model_dump_json(), encoding="utf-8")
    tmp.replace(folder / OUTCOME_FILE)


def _read(spec: Path) -> RunSpec:
    try:
        return RunSpec.model_validate_json(spec.read_bytes())
    except OSError as error:
        raise InvalidSpec(f"the spec {spec} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(_in_words(problem) for problem in error.errors())
        raise InvalidSpec(f"the spec {spec} is not valid: {problems}") from error


def _in_words(problem: Any) -> str:
    field = ".".join(map(str, problem["loc"])) or "the whole"
    value = json.dumps(problem["input"], default=str)
    return f"{field}: {problem['msg']} (got {value[:100]})"


if __name__ == "__main__":
    sys.exit(main())
