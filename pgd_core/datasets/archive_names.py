"""Which names of an archive's members become files: those that mean one thing everywhere."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from pgd_core.datasets.pictures import unsafe_part
from pgd_core.datasets.report import shown
from pgd_core.errors import DatasetUnusable

PATH_BYTES, PART_BYTES, DEPTH = 400, 200, 12
# What file managers leave beside a data set; left out in silence, as nobody put it there.
_LEFT_BY_SYSTEMS = (
    "__MACOSX",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".git",
    ".ipynb_checkpoints",
)
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$", re.IGNORECASE)


class Names:
    """Takes each member's name once; refuses one that another file system would read otherwise."""

    def __init__(
        self,
        most_folders: int,  # that the names may ask for, said or not
    ) -> None:
        self._most_folders = most_folders
        self._spelling: dict[str, str] = {}  # by how a system without case knows the path
        self._folders: set[str] = set()
        self._files: set[str] = set()

    def accept(self, name: str, is_folder: bool) -> PurePosixPath | None:
        """The path to write to, relative; None for what is to be left out, DatasetUnusable where it
        is dangerous."""
        plain = name.rstrip("/") if is_folder else name
        while plain.startswith("./"):
            plain = plain[2:]
        if is_folder and plain in ("", "."):
            return None
        fault = unsafe_part(plain) or _fault(plain)
        if fault:
            raise DatasetUnusable(f"the archive's member {shown(name)} {fault}; pack it anew")
        path = PurePosixPath(plain)
        if any(part in _LEFT_BY_SYSTEMS or part.startswith("._") for part in path.parts):
            return None
        self._take(path, is_folder)
        return path

    def _take(self, path: PurePosixPath, is_folder: bool) -> None:
        for parent in [*reversed(path.parents)][1:]:
            self._spell(parent)
            if str(parent) in self._files:
                raise _clash(path, parent, "is below what is a file")
            self._folders.add(str(parent))
        self._spell(path)
        if str(path) in self._files or (not is_folder and str(path) in self._folders):
            raise _clash(path, path, "is there twice")
        (self._folders if is_folder else self._files).add(str(path))
        if len(self._folders) > self._most_folders:
            raise DatasetUnusable(
                f"the archive has over {self._most_folders} folders; pack it anew, with fewer"
            )

    def _spell(self, path: PurePosixPath) -> None:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())
        other = self._spelling.setdefault(key, str(path))
        if other != str(path):
            raise _clash(path, PurePosixPath(other), "is the same to some systems")


def _clash(path: PurePosixPath, other: PurePosixPath, how: str) -> DatasetUnusable:
    return DatasetUnusable(
        f"the archive's member {shown(str(path))} {how} ({shown(str(other))}); rename one and pack "
        "it anew"
    )


def _fault(name: str) -> str | None:
    """What is wrong with a name that cannot climb."""
    parts = name.split("/")
    size = len(name.encode("utf-8", "surrogateescape"))
    faults = {
        f"has a path of {size} bytes, over {PATH_BYTES}": size > PATH_BYTES,
        f"lies {len(parts)} levels deep, over {DEPTH}": len(parts) > DEPTH,
        f"has a name of over {PART_BYTES} bytes": any(
            len(part.encode("utf-8", "surrogateescape")) > PART_BYTES for part in parts
        ),
        "has an empty part": "" in parts or "." in parts,
        "holds a colon": ":" in name,
        "ends in a dot or a space": any(part.endswith((".", " ")) for part in parts),
        "has a name that Windows reserves": any(map(_RESERVED.match, parts)),
    }
    return next((fault for fault, found in faults.items() if found), None)
