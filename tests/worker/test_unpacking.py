from __future__ import annotations

import sys

import pytest

from tests.pgd_core.datasets.hostile_archives import CASES, GOOD, zipped
from worker.confine import CheckLimits, Interrupted
from worker.unpacking import unpack_confined

LIMITS = CheckLimits(wall_s=60, cpu_s=60)


@pytest.fixture
def unpack(tmp_path):
    """Unpacks what the test sends, into `out` beside a scratch folder."""
    (tmp_path / "checks").mkdir()

    def unpack_sent(content, **options):
        (tmp_path / "sent").write_bytes(content)
        stopping = options.pop("stopping", lambda: False)
        return unpack_confined(
            *(tmp_path / "sent", tmp_path / "out", tmp_path / "checks", "check/test", stopping),
            **{"limits": LIMITS, **options},
        )

    return unpack_sent


def test_a_good_archive_is_unpacked_and_its_parts_named(unpack, tmp_path):
    unpacked = unpack(zipped([]))

    assert unpacked.usable
    assert unpacked.parts() == ("train.json", "train", "val.json", "val")
    assert (tmp_path / "out" / "val" / "2.jpg").read_bytes() == GOOD["val/2.jpg"]
    assert list((tmp_path / "checks").iterdir()) == []


def test_a_hostile_archive_is_refused_in_words_and_leaves_nothing(unpack, tmp_path):
    CASES["tar: through a link"].write(tmp_path / "made")
    unpacked = unpack((tmp_path / "made").read_bytes())

    assert (unpacked.usable, "is a link" in unpacked.message) == (False, True)
    assert {path.name for path in tmp_path.iterdir()} == {"made", "sent", "checks"}


def test_a_file_over_the_limit_ends_the_process_and_leaves_nothing(unpack, tmp_path):
    small = CheckLimits(wall_s=60, cpu_s=60, file_bytes=2**16)
    unpacked = unpack(zipped([("train/3.jpg", bytes(2**20))]), limits=small)

    assert not unpacked.usable
    assert "File too large" in unpacked.message
    assert {path.name for path in tmp_path.iterdir()} == {"sent", "checks"}


def test_what_a_killed_process_left_does_not_hold_up_the_next(unpack, tmp_path):
    (tmp_path / ".out.unfinished" / "train").mkdir(parents=True)

    assert unpack(zipped([])).usable


@pytest.mark.parametrize("part", ["../sent", "/etc/passwd", "gone"])
def test_an_answer_that_names_something_else_is_not_believed(part, unpack):
    answer = f'{{"usable": true, "train_annotations": "{part}"}}'
    lying = (sys.executable, "-c", f"import sys; open(sys.argv[-1], 'w').write({answer!r})")

    assert "not where it should be" in unpack(b"", command=lying).message


def test_unpacking_stops_with_the_worker(unpack, tmp_path):
    hanging = (sys.executable, "-c", "import time; time.sleep(600)")

    with pytest.raises(Interrupted):
        unpack(b"", command=hanging, stopping=lambda: True)
    assert list((tmp_path / "checks").iterdir()) == []
