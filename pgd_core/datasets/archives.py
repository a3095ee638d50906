"""Unpacks a data set's archive from people we do not trust, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgd_core.datasets.archive_members import (
    UNREADABLE,
    ArchiveLimits,
    Member,
    Meter,
    members,
)
from pgd_core.datasets.archive_names import Names
from pgd_core.datasets.layout_search import find_layout
from pgd_core.datasets.report import shown
from pgd_core.errors import DatasetUnusable, InvalidSpec


class Unpacked(BaseModel):
    """What came out of an archive, or why nothing did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usable: bool
    message: str = ""
    files: int = 0
    bytes: int = 0
    left_out: int = 0  # members that a system's file manager had left
    # Below the folder:
    train_annotations: str = ""
    train_images: str = ""
    val_annotations: str = ""
    val_images: str = ""

    def parts(self) -> tuple[str, str, str, str]:
        """The four, in the order in which a data set is registered."""
        return self.train_annotations, self.train_images, self.val_annotations, self.val_images


def unpack(
    archive: Path,
    folder: Path,  # that does not exist yet; its parent does
    limits: ArchiveLimits | None = None,
) -> Unpacked:
    """Regular files only, into a new folder that appears once all of them are in it.

    Raises DatasetUnusable for an archive that holds anything else, too much, or no data set.
    """
    if folder.exists() or folder.is_symlink():
        raise InvalidSpec(f"{folder} exists; give a folder that does not")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    unfinished.mkdir()  # fails where another is at work
    try:
        unpacked = _written(archive, unfinished, limits or ArchiveLimits())
        unfinished.rename(folder)
    except UNREADABLE as error:
        shutil.rmtree(unfinished)
        reason = str(error) or type(error).__name__
        raise DatasetUnusable(
            f"the archive cannot be read: {shown(reason)}; send it again, or pack it anew"
        ) from error
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    return unpacked


def _written(archive: Path, root: Path, limits: ArchiveLimits) -> Unpacked:
    names, meter = Names(limits.members), Meter(archive.stat().st_size, limits)
    files = size = left_out = 0
    for count, member in enumerate(members(archive, meter), 1):
        if count > limits.members:
            raise DatasetUnusable(
                f"the archive has over {limits.members} members; send it in parts"
            )
        path = names.accept(member.name, member.is_folder)
        if path is None:
            left_out += 1
        elif member.is_folder:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            size += _write(root / path, member, limits)
            files += 1
    return described(root, files=files, size=size, left_out=left_out)


def described(root: Path, *, files: int, size: int, left_out: int = 0) -> Unpacked:
    """The data set that is in the folder; DatasetUnusable where there is none."""
    found = find_layout(root)
    parts = {part: str(path.relative_to(root)) for part, path in vars(found).items()}
    return Unpacked(usable=True, files=files, bytes=size, left_out=left_out, **parts)


def _write(path: Path, member: Member, limits: ArchiveLimits) -> int:
    """Its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("xb") as file:  # never over anything
        for chunk in _bounded(member, limits.file_bytes):
            size += file.write(chunk)
    return size


def _bounded(member: Member, most: int) -> Iterator[bytes]:
    size = 0
    for chunk in member.chunks():
        size += len(chunk)
        if size > most:
            raise DatasetUnusable(
                f"the archive's member {shown(member.name)} has over {most} bytes; split it"
            )
        yield chunk
