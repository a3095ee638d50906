"""Whether this machine has the folders that the others have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pgd_core.files.shares import MARK_FILE, DataFolder, not_mounted


class Database:
    """Remembers the first mark that it is told of."""

    def __init__(self) -> None:
        self.known = ""

    def shared(self, mark: str) -> str:
        self.known = self.known or mark
        return self.known


@pytest.fixture
def database() -> Database:
    return Database()


def test_processes_of_one_folder_agree_on_its_mark(database, tmp_path):
    with ThreadPoolExecutor(8) as threads:
        folders = [DataFolder(tmp_path / "data", database.shared) for _ in range(8)]
        told = list(threads.map(lambda folder: folder.trouble(), folders))

    assert told == [""] * 8
    assert [path.name for path in (tmp_path / "data").iterdir()] == [MARK_FILE]


def test_another_folder_is_a_trouble_that_says_what_to_do(database, tmp_path):
    ours, other = tmp_path / "ours", tmp_path / "other"
    DataFolder(ours, database.shared).trouble()

    told = DataFolder(other, database.shared).trouble()
    assert f"{other} is not the data folder of this database" in told
    assert "mount its share, or set PGD_DATA_FOLDER" in told

    (other / MARK_FILE).write_text(database.known)  # the way out that it names
    assert DataFolder(other, database.shared).trouble() == ""


def test_a_share_that_goes_away_is_a_trouble_until_it_is_back(database, tmp_path):
    """What is seen then is the empty folder that it was mounted on."""
    data, away = tmp_path / "data", tmp_path / "away"
    folder = DataFolder(data, database.shared)
    assert folder.trouble() == ""

    data.rename(away)
    data.mkdir()
    assert folder.trouble()
    assert DataFolder(data, database.shared).trouble()  # of a worker that starts now

    data.rename(tmp_path / "was mounted on")
    away.rename(data)
    assert folder.trouble() == ""


def test_a_crash_before_the_database_knew_leaves_the_folder_s_mark_to_the_next(database, tmp_path):
    def crash(_mark: str) -> str:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        DataFolder(tmp_path, crash).trouble()

    mark = (tmp_path / MARK_FILE).read_text().strip()
    assert DataFolder(tmp_path, database.shared).trouble() == ""
    assert database.known == mark


def test_a_root_with_nothing_in_it_looks_not_mounted(tmp_path: Path):
    bare, full, missing = tmp_path / "bare", tmp_path / "full", tmp_path / "missing"
    bare.mkdir()
    full.mkdir()
    (full / "another").touch()
    roots = (bare, full, missing)

    assert not_mounted([full / "coco" / "train.json"], roots) == ""  # deleted, as it seems
    assert f"{bare} is empty or missing" in not_mounted([full / "a", bare / "b"], roots)
    assert f"{missing} is empty or missing" in not_mounted([missing / "a"], roots)
    assert not_mounted([tmp_path / "elsewhere"], roots) == ""
    assert not_mounted([bare / "a"], ()) == ""
