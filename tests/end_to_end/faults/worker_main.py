"""The worker's own process with the stand-in trainer, and gates before and after what it does.

FAULTS_CLOCK shifts this process's wall clock by so many seconds.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import Any

from tests.end_to_end.faults.gates import wait_at
from worker.main import begin, open_stores, run

TRAINER = ("-m", "tests.end_to_end.faults.trainer")


class Gated:
    """An object whose named methods pass the gates "before-NAME" and "after-NAME"."""

    def __init__(self, inner: Any, *names: str) -> None:
        self._inner, self._names = inner, names

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._names:
            return method

        def gated(*arguments: Any, **options: Any) -> Any:
            wait_at(f"before-{name}")
            answer = method(*arguments, **options)
            if answer is not None or name != "claim":
                wait_at(f"after-{name}")
            return answer

        return gated


def _shift_clock(by_s: float) -> None:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + by_s
    time.time_ns = lambda: real_ns() + int(by_s * 1e9)


def main() -> int:
    _shift_clock(float(os.environ.get("FAULTS_CLOCK", "0")))
    settings = begin()
    with open_stores(settings) as stores:
        jobs = Gated(stores.jobs, "claim", "started", "finish")
        files = Gated(stores.files, "put")
        return run(settings, replace(stores, jobs=jobs, files=files), TRAINER)


if __name__ == "__main__":
    sys.exit(main())
