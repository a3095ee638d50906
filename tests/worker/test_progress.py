from __future__ import annotations

import json

import pytest

from worker.progress import ProgressTail


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.jsonl"


def line(iteration):
    content = {"type": "train", "at": "2026-01-01T00:00:00Z", "iteration": iteration}
    return json.dumps(content).encode() + b"\n"


def iterations(tail):
    return [seen.iteration for seen in tail.new_lines()]


def test_each_line_comes_once(path):
    tail = ProgressTail(path)
    assert iterations(tail) == []  # no file yet

    path.write_bytes(line(1) + line(2))
    assert iterations(tail) == [1, 2]
    assert iterations(tail) == []
    path.write_bytes(path.read_bytes() + line(3))
    assert iterations(tail) == [3]


def test_a_line_that_is_being_written_waits_until_it_is_whole(path):
    tail = ProgressTail(path)
    path.write_bytes(line(1) + line(2)[:10])
    assert iterations(tail) == [1]

    path.write_bytes(line(1) + line(2))
    assert iterations(tail) == [2]


def test_a_line_that_cannot_be_read_is_passed_over(path):
    path.write_bytes(line(1) + b"nonsense\n\n\xff\xfe\n" + b'{"type": "unknown"}\n' + line(2))

    assert iterations(ProgressTail(path)) == [1, 2]


def test_a_loss_that_is_nan_is_still_a_line(path):
    path.write_bytes(b'{"type": "train", "at": "", "losses": {"cls": NaN}}\n')

    [seen] = ProgressTail(path).new_lines()
    assert str(seen.losses["cls"]) == "nan"


def test_a_line_without_end_does_not_stop_those_after_it(path):
    tail = ProgressTail(path)
    path.write_bytes(b"x" * 2**21 + b"\n" + line(1))

    seen = [number for _ in range(4) for number in iterations(tail)]
    assert seen == [1]
