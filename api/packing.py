"""A folder of this machine as a tar that the service takes as a data set."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")
_ROOM = 2**26  # bytes that are left free


def names_archive(path: Path) -> bool:
    """Whether a file of this name is packed."""
    return path.name.lower().endswith(SUFFIXES)


def is_archive(path: Path) -> bool:
    """Whether it is a file whose name says that it is packed."""
    return names_archive(path) and path.is_file()


@contextmanager
def packed(
    folder: Path, told: Callable[[int, int], None] = lambda _done, _whole: None
) -> Iterator[Path]:
    """A tar of the folder's files, for as long as it is needed; `told` of bytes done and in all.

    Links to files go as the files that they lead to. OSError where the temporary folder has no
    room, or where a folder is a link: it could lead anywhere, and in circles.
    """
    files = sorted(_files(folder))
    whole = sum(path.stat().st_size for path in files)
    with tempfile.TemporaryDirectory(prefix="pgd-pack-") as scratch:
        need = whole + 2048 * len(files)
        if shutil.disk_usage(scratch).free < need + _ROOM:
            raise OSError(
                f"packing {folder} needs {need} bytes in {scratch}; set TMPDIR to a folder with "
                "more room, or pack it yourself and give the archive"
            )
        archive, done = Path(scratch) / f"{folder.resolve().name or 'data'}.tar", 0
        with tarfile.open(archive, "w", dereference=True, format=tarfile.PAX_FORMAT) as tar:
            for path in files:
                tar.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_plain)
                done += path.stat().st_size
                told(done, whole)
        yield archive


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        for name in folders:
            if Path(place, name).is_symlink():
                raise OSError(f"{Path(place, name)} is a link to a folder; put the folder there")
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.is_file():
                yield path


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A file and nothing more: hard links go as files, and nobody learns who packed it."""
    info.type, info.linkname = tarfile.REGTYPE, ""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info
