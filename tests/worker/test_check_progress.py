from __future__ import annotations

import sys

import pytest
from structlog.testing import capture_logs

from pgd_core.errors import IllegalMove, NotFound
from worker import check_progress
from worker.check_progress import telling
from worker.checks import Checker
from worker.confine import CheckLimits


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is asked to."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(check_progress, "time", clock)
    return clock


@pytest.fixture
def dataset(world):
    return world.library.add_dataset("digits", "/a.json", "/a", "/b.json", "/b")


def test_what_is_new_is_told_once_a_second(world, dataset, clock, tmp_path):
    done = tmp_path / "done"
    ask = telling(world.library, dataset.id, "checking", lambda: False, done)

    assert ask() is False
    assert world.library.dataset(dataset.id).progress == {"stage": "checking"}
    done.write_text("0.25")
    ask()
    assert world.library.dataset(dataset.id).progress == {"stage": "checking"}
    clock.now += 1
    ask()
    assert world.library.dataset(dataset.id).progress == {"stage": "checking", "done": 0.25}


@pytest.mark.parametrize("text", ["", "{", '"half"', "-1", "2", "NaN", "[0.5]", "9" * 500])
def test_nonsense_is_no_progress(world, dataset, tmp_path, text):
    (tmp_path / "done").write_text(text)

    telling(world.library, dataset.id, "checking", lambda: False, tmp_path / "done")()

    assert world.library.dataset(dataset.id).progress == {"stage": "checking"}


def test_a_database_that_is_away_breaks_no_check_and_hides_no_stop(world, dataset, monkeypatch):
    def away(*_):
        raise ConnectionError("no database")

    monkeypatch.setattr(world.library, "dataset_told", away)

    with capture_logs() as logged:
        assert telling(world.library, dataset.id, "checking", lambda: True)() is True
    assert logged[0]["event"] == "progress_not_told"


def test_a_data_set_that_is_gone_or_checked_ends_the_check(world, dataset, clock):
    ask = telling(world.library, dataset.id, "checking", lambda: False)
    assert ask() is False
    world.library.dataset_checked(dataset.id, usable=True, report={}, sha256="ab", classes=())
    assert ask() is False  # within the same second
    clock.now += 1
    with pytest.raises(IllegalMove, match="checked meanwhile: it is ready"):
        ask()
    world.library.delete_dataset(dataset.id)
    clock.now += 1
    with pytest.raises(NotFound, match=dataset.id):
        ask()


def test_what_could_not_be_told_is_told_once_the_database_is_back(
    world, dataset, clock, monkeypatch
):
    def away(*_):
        raise ConnectionError("no database")

    ask = telling(world.library, dataset.id, "checking", lambda: False)
    with monkeypatch.context() as patched:
        patched.setattr(world.library, "dataset_told", away)
        ask()
    clock.now += 1
    ask()

    assert world.library.dataset(dataset.id).progress == {"stage": "checking"}


# Half done until somebody has heard of it: GO, then what the check is given.
_HALF = """
import json, pathlib, sys, time
go, *given = sys.argv[1:]
value = lambda name: pathlib.Path(given[given.index(name) + 1])
value("--progress").write_text("0.5")
while not pathlib.Path(go).exists():
    time.sleep(0.01)
value("--report").write_text(json.dumps({"usable": True}))
"""


def test_a_check_is_heard_of_while_it_goes_on(world, dataset, monkeypatch):
    go, told = world.folder / "go", world.library.dataset_told
    monkeypatch.setattr(check_progress, "_EVERY_S", 0.0)

    def hear(dataset_id, progress):
        told(dataset_id, progress)
        if world.library.dataset(dataset_id).progress.get("done") == 0.5:
            go.touch()

    monkeypatch.setattr(world.library, "dataset_told", hear)
    half = (sys.executable, "-c", _HALF, str(go))
    limits = CheckLimits(wall_s=60, cpu_s=60)
    checks = world.folder / "checks"

    Checker(
        world.library, world.files, checks, dataset_check=half, dataset_limits=limits
    ).check_all()

    assert go.exists()
    checked = world.library.dataset(dataset.id)
    assert (checked.state, checked.progress) == ("ready", {})
