"""Deleting from `datasets/` of the data folder: what belongs to no data set."""

from __future__ import annotations

from pathlib import Path

from pgd_core.files.leftovers import matching
from pgd_core.jobs.datasets import DATASETS_FOLDER, DELETED
from pgd_core.jobs.protocols import HousekeepingStore
from worker.broom import DAY, HOUR, Broom, is_another_database


def sweep_datasets(data_folder: Path, rows: HousekeepingStore, broom: Broom) -> None:
    """A folder of a data set that exists is never touched, however old; what a process that was
    killed left of one goes after a day, and what a deletion left that broke off after an hour."""
    below = data_folder / DATASETS_FOLDER
    found = {path.name: path for path in matching(below, "*") if not path.name.startswith(".")}
    jobs = {path.name for path in matching(data_folder / "attempts", "*")}
    # Asked after the look: what is registered meanwhile is known. Jobs are evidence too.
    known = rows.owners(jobs | found.keys())
    strange = sorted(found.keys() - rows.datasets(found))
    if strange and not is_another_database(len(known), len(jobs | found.keys()) - len(known)):
        for name in strange:
            broom.remove(found[name], "dataset_of_no_row", idle=DAY)
    for path in matching(below, ".*.unfinished"):
        broom.remove(path, "scratch", idle=DAY)
    for path in matching(below, f".*{DELETED}"):
        broom.remove(path, "deleted_dataset", idle=HOUR)
