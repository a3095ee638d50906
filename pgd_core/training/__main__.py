"""The trainer: `python -m pgd_core.training spec.json FOLDER`, or the same under torchrun.

Reads a `RunSpec`, fills FOLDER as `pgd_core.jobs.run` says. Exit status: 0 succeeded, 1 failed,
3 stopped with a checkpoint; `outcome.json` has the reason. 4: there was no room even for that; 5:
its disk or file server failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgd_core.errors import (
    InvalidSpec,
    MachineUnusable,
    PgdError,
    ProcessLost,
    RunFailed,
    StoppedBySignal,
)
from pgd_core.files.faults import is_storage_fault, storage_fault
from pgd_core.files.full_disk import disk_full, lacks_room
from pgd_core.jobs.run import (
    ALIVE_FILE,
    NO_ROOM_EXIT,
    OUTCOME_FILE,
    STORAGE_FAULT_EXIT,
    Outcome,
    RunSpec,
)

EXIT = {"succeeded": 0, "failed": 1, "stopped": 3}


def main() -> int:
    """Run one attempt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path, help="a RunSpec as JSON")
    parser.add_argument("folder", type=Path, help="where everything is written")
    arguments = parser.parse_args()
    try:
        return _run(arguments.spec, arguments.folder)
    except OSError as error:
        if lacks_room(error):
            return NO_ROOM_EXIT
        if is_storage_fault(error):
            return STORAGE_FAULT_EXIT
        raise


def _run(spec: Path, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        (folder / OUTCOME_FILE).unlink(missing_ok=True)
    outcome = _attempt(spec, folder)
    if rank == 0 or outcome.status == "failed":
        _leave(outcome, folder, rank)
    with _log_may_be_full():
        print(f"{outcome.status}: {outcome.message or outcome.reason}", flush=True)  # noqa: T201
    if outcome.status == "stopped" and rank > 0:
        return 0  # torchrun would end the first process, which is still writing the outcome
    return EXIT[outcome.status]


def _attempt(spec: Path, folder: Path) -> Outcome:
    try:
        run = _read(spec)
        if run.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before MMEngine looks for a GPU
        run_in_process = _load_trainer()
        (folder / ALIVE_FILE).touch()  # from here on the job has a part in what happens
        result = run_in_process(run, folder.resolve())
        return Outcome(status="succeeded", reason="completed", result=result)
    except StoppedBySignal as error:
        return Outcome(status="stopped", reason=error.code, message=error.message)
    except Exception as error:
        with _log_may_be_full():
            traceback.print_exc()
        return _failure(error, folder)


def _load_trainer() -> Callable[[RunSpec, Path], dict[str, Any]]:
    """Torch and MMDetection, after the environment is set for them."""
    try:
        from pgd_core.training.process import run_in_process
    except Exception as error:  # no job has a part in what its imports do
        raise MachineUnusable(
            f"the trainer cannot be loaded on this machine ({type(error).__name__}: {error}); mend "
            "its installation, and look at the job's log"
        ) from error
    return run_in_process


def _failure(error: Exception, folder: Path) -> Outcome:
    if lacks_room(error):
        error = disk_full(folder, error)
    elif not isinstance(error, PgdError) and is_storage_fault(error):
        error = storage_fault(f"a file of the run in {folder} or of its data set", error)
    if isinstance(error, PgdError):
        code = error.code if isinstance(error, RunFailed | InvalidSpec) else "internal_error"
        return Outcome(status="failed", reason=code, message=error.message)
    message = f"{type(error).__name__}: {error}"
    return Outcome(status="failed", reason="internal_error", message=message)


@contextlib.contextmanager
def _log_may_be_full() -> Iterator[None]:
    """Last words that the log has no room for change nothing about the outcome."""
    try:
        yield
    except OSError as error:
        if not (lacks_room(error) or is_storage_fault(error)):
            raise


def _leave(outcome: Outcome, folder: Path, rank: int) -> None:
    """Write the outcome, unless another process has told the cause: ours is its consequence.

    That another process was lost is never the cause where that process has told one, now or later.
    """
    path = folder / OUTCOME_FILE
    is_consequence = outcome.reason == ProcessLost.code
    if path.exists() and (is_consequence or not _tells_of_loss(path)):
        return
    tmp = folder / f".{OUTCOME_FILE}.{rank}.tmp"
    try:
        tmp.write_text(outcome.model_dump_json(), encoding="utf-8")
        if is_consequence:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(tmp)  # never over another's
        else:
            tmp.replace(path)
    finally:
        tmp.unlink(missing_ok=True)


def _tells_of_loss(path: Path) -> bool:
    return Outcome.model_validate_json(path.read_bytes()).reason == ProcessLost.code


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
