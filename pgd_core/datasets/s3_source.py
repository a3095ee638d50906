"""Fetches a data set from a prefix of S3, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from pgd_core.datasets.archive_members import ArchiveLimits
from pgd_core.datasets.archive_names import Names
from pgd_core.datasets.archives import Unpacked, described
from pgd_core.datasets.report import shown
from pgd_core.errors import DatasetUnusable


class Listed(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...


Found = TypeVar("Found", bound=Listed)


def fetch(
    objects: Iterable[Found],
    chunks: Callable[[Found], Iterator[bytes]],
    folder: Path,  # that does not exist yet; its parent does
    limits: ArchiveLimits,
    stopping: Callable[[], None],  # raises where it is to stop
) -> Unpacked:
    """Each object as a file of its name, under the rules of an archive's members.

    The sizes that the bucket lists are counted first, and the bytes as they come. Raises
    DatasetUnusable for names that are no safe paths, too much, or no data set.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    unfinished.mkdir()
    try:
        wanted = list(_accepted(objects, limits, stopping))
        size = sum(_write(unfinished / path, each, chunks, stopping) for path, each in wanted)
        unpacked = described(unfinished, files=len(wanted), size=size)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return unpacked


def _accepted(
    objects: Iterable[Found], limits: ArchiveLimits, stopping: Callable[[], None]
) -> Iterator[tuple[Path, Found]]:
    names, total, most = Names(limits.members), 0, limits.total_bytes
    most = most if limits.room_bytes is None else min(most, limits.room_bytes)
    for count, found in enumerate(objects, 1):
        stopping()
        if count > limits.members:
            raise DatasetUnusable(f"the prefix has over {limits.members} objects; name one below")
        is_folder = found.name.endswith("/") or not found.name  # as consoles make them
        path = None if is_folder and not found.size else names.accept(found.name, is_folder)
        if path is None or is_folder:
            continue
        total += found.size
        if found.size > limits.file_bytes or total > most:
            raise DatasetUnusable(
                f"the prefix has too much at {shown(found.name)}: over {limits.file_bytes} bytes "
                f"in one object, or over {most} in all; name a prefix with less"
            )
        yield Path(path), found


def _write(
    path: Path,
    found: Found,
    chunks: Callable[[Found], Iterator[bytes]],
    stopping: Callable[[], None],
) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("xb") as file:
        for chunk in chunks(found):
            stopping()
            size += file.write(chunk)
            if size > found.size:
                break
    if size != found.size:
        raise DatasetUnusable(
            f"the object {shown(found.name)} has not the {found.size} bytes that were listed; "
            "do not change it meanwhile, and register again"
        )
    return size
