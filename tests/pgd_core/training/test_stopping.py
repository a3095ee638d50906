from __future__ import annotations

import pytest

from pgd_core.errors import StoppedBySignal
from pgd_core.training import stopping
from pgd_core.training.stopping import StopRequest


def test_a_stop_file_is_a_request(tmp_path):
    stop = StopRequest(tmp_path)
    stop.check()
    (tmp_path / "stop").touch()

    with pytest.raises(StoppedBySignal):
        stop.check()


def test_whoever_asks_shows_life_once_a_second(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    stop, alive = StopRequest(tmp_path), tmp_path / "alive"
    stop.agreed()
    assert alive.exists()

    alive.unlink()
    now[0] = 0.9
    stop.agreed()
    assert not alive.exists()
    now[0] = 1.0
    stop.agreed()
    assert alive.exists()
