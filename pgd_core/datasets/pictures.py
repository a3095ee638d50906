"""Reads untrusted picture files once: content hash, size, and whether they decode wholly."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from PIL import Image, UnidentifiedImageError

from pgd_core.datasets.report import Code, shown
from pgd_core.errors import DatasetUnusable

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")  # what training decodes
EXIF_ORIENTATION_TAG = 0x0112
TURNED = range(5, 9)  # the orientations that swap width and height
THREADS = min(4, os.cpu_count() or 1)  # each may hold one file and its pixels


@dataclass(frozen=True)
class PictureLimits:
    file_bytes: int = 64 * 2**20
    pixels: int = 80_000_000  # below Pillow's own warning


@dataclass(frozen=True)
class PictureFacts:
    sha256: str = ""  # empty where the file could not be read
    width: int = 0  # pixels as stored, before any EXIF turn
    height: int = 0
    orientation: int = 1  # EXIF's, 1 is upright
    code: Code | None = None  # the fault, if any
    message: str = ""

    def seen_size(self) -> tuple[int, int]:
        """(width, height) in pixels after the EXIF turn, as training sees the picture."""
        turned = self.orientation in TURNED
        return (self.height, self.width) if turned else (self.width, self.height)


def read_pictures(
    folder: Path,
    file_names: Sequence[str],  # each once, by its `plain_name`
    limits: PictureLimits,
    progress: Callable[[int], None] | None = None,  # (files read)
) -> dict[str, PictureFacts]:
    """Facts by file name. Threads: Pillow decodes without the interpreter's lock."""
    root = folder.resolve()
    Image.init()  # before the threads: loads the readers
    facts: dict[str, PictureFacts] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.simplefilter("ignore")  # odd metadata is no fault
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        found = pool.map(lambda name: _read(root, name, limits), file_names)
        for name, fact in zip(file_names, found, strict=True):
            facts[name] = fact
            if progress:
                progress(len(facts))
    return facts


def picture_bytes(
    folder: Path,
    file_name: str,
    limits: PictureLimits = PictureLimits(),
) -> bytes:
    """A picture's file of a data set that was usable; DatasetUnusable where it no longer is one."""
    found = _found(folder.resolve(), file_name, limits)
    if isinstance(found, PictureFacts):
        raise DatasetUnusable(found.message)
    return found


def _read(root: Path, file_name: str, limits: PictureLimits) -> PictureFacts:
    content = _found(root, file_name, limits)
    return content if isinstance(content, PictureFacts) else _decoded(content, file_name, limits)


def _found(root: Path, file_name: str, limits: PictureLimits) -> bytes | PictureFacts:
    """The file's bytes, or the fault."""
    unsafe = unsafe_part(file_name)
    if unsafe:
        message = f"file_name {shown(file_name)} {unsafe}: name a file inside the image folder"
        return PictureFacts(code=Code.UNSAFE_FILE_NAME, message=message)
    try:
        path = (root / file_name).resolve()
        if not path.is_relative_to(root):
            message = f"{shown(file_name)} is a link that leaves the image folder: copy the file in"
            return PictureFacts(code=Code.UNSAFE_FILE_NAME, message=message)
        return _content(path, file_name, limits)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        message = f"{shown(file_name)} cannot be opened ({reason}): add it or remove its image"
        return PictureFacts(code=Code.PICTURE_MISSING, message=message)


def unsafe_part(file_name: str) -> str | None:
    """What makes a client's file name dangerous to join to a folder; None where nothing does."""
    if not file_name.strip():
        return "is empty"
    if "\0" in file_name:
        return "holds a NUL"
    if "\\" in file_name:
        return "holds a backslash"
    if PurePosixPath(file_name).is_absolute() or PureWindowsPath(file_name).drive:
        return "is absolute"
    if ".." in PurePosixPath(file_name).parts:
        return "climbs with '..'"
    if not file_name.isprintable():
        return "holds unprintable characters"
    return None


def plain_name(file_name: str) -> str:
    """The one spelling of a picture's name: tools write ./a.png, and deep//a.png is deep/a.png.

    What is no file of the folder stays as it is, to be refused in its own words.
    """
    return file_name if unsafe_part(file_name) else str(PurePosixPath(file_name))


def _content(path: Path, file_name: str, limits: PictureLimits) -> bytes | PictureFacts:
    """The file's bytes, or the fault; opened so that a pipe cannot hold us."""
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            message = f"{shown(file_name)} is no regular file: replace it by the picture"
            return PictureFacts(code=Code.PICTURE_MISSING, message=message)
        content = file.read(limits.file_bytes + 1)
    if len(content) > limits.file_bytes:
        message = (
            f"{shown(file_name)} has {status.st_size} bytes: at most {limits.file_bytes} are read"
        )
        return PictureFacts(code=Code.PICTURE_TOO_LARGE, message=message)
    return content


def _decoded(content: bytes, file_name: str, limits: PictureLimits) -> PictureFacts:
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                return _too_many_pixels(
                    sha256, f"{shown(file_name)} has {width} x {height}", limits
                )
            picture.load()
            orientation = _orientation(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _too_many_pixels(sha256, f"{shown(file_name)} has too many", limits)
    except Exception as error:  # Pillow's readers raise all kinds on hostile bytes
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"none of {', '.join(FORMATS)}" if unknown else shown(str(error))
        message = f"{shown(file_name)} does not decode ({reason}): replace it by a whole picture"
        return PictureFacts(sha256, code=Code.PICTURE_UNREADABLE, message=message)
    return PictureFacts(sha256, width, height, orientation)


def _orientation(picture: Image.Image) -> int:
    turn = picture.getexif().get(EXIF_ORIENTATION_TAG, 1)
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _too_many_pixels(sha256: str, subject: str, limits: PictureLimits) -> PictureFacts:
    message = f"{subject} pixels: at most {limits.pixels} are decoded; scale it down"
    return PictureFacts(sha256, code=Code.PICTURE_TOO_LARGE, message=message)


def seen_size(
    path: Path,  # of a data set that `check_dataset` found usable
) -> tuple[int, int]:
    """(width, height) in pixels after the EXIF turn, from the head of the file alone."""
    with Image.open(path, formats=FORMATS) as picture:
        return PictureFacts("", *picture.size, _orientation(picture)).seen_size()
