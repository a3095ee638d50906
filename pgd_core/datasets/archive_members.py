"""The members of a zip or a tar, one after the other, metered as they are read.

What an archive says of its sizes is not believed: bytes are counted as they come out.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from pgd_core.datasets.report import shown
from pgd_core.errors import DatasetUnusable

CHUNK = 2**20
HEADER_BYTES = 2**20  # of a tar's long names and pax records, for one member
XZ_MEMORY = 2**28  # what unpacking one may hold; `xz -9` needs 65 MiB
# What the readers raise on damaged bytes
UNREADABLE = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError),
    *(NotImplementedError, UnicodeError, ValueError, RuntimeError, MemoryError, gzip.BadGzipFile),
)


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold. A picture does not shrink, an annotation file to a fiftieth."""

    members: int = 500_000  # and so many folders, and a tar's headers; COCO 2017: 123 287 pictures
    file_bytes: int = 4 * 2**30
    total_bytes: int = 256 * 2**30
    ratio: int = 200  # of bytes unpacked to bytes packed
    ratio_free_bytes: int = 2**28  # unpacked whatever the ratio
    room_bytes: int | None = None  # that the disk has; None: not asked


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """A file or a folder; `chunks` is to be gone through before the next member is asked for."""

    name: str
    is_folder: bool
    chunks: Callable[[], Iterator[bytes]]


class Meter:
    """Counts what comes out of an archive."""

    def __init__(self, archive_bytes: int, limits: ArchiveLimits) -> None:
        self.total, self._headers, self._limits = 0, 0, limits
        self._most = min(limits.total_bytes, limits.ratio_free_bytes + limits.ratio * archive_bytes)

    def add(self, size: int) -> None:
        self.total += size
        if self._limits.room_bytes is not None and self.total > self._limits.room_bytes:
            raise DatasetUnusable(
                f"the archive unpacks to over {self._limits.room_bytes} bytes, all the room that "
                "the server's disk has; send it again once there is more"
            )
        if self.total > self._most:
            raise DatasetUnusable(
                f"the archive unpacks to over {self._most} bytes, which is over "
                f"{self._limits.ratio} times its size or over {self._limits.total_bytes}; send the "
                "data set in parts, or less compressed"
            )

    def add_header(self) -> None:
        """One that a tar has beside its members', for a long name or pax records."""
        self._headers += 1
        if self._headers > self._limits.members:
            raise DatasetUnusable(
                f"the tar has over {self._limits.members} headers beside its members'; pack it "
                "anew, with zip, or in parts"
            )


def members(archive: Path, meter: Meter) -> Iterator[Member]:
    """All of them, whatever the archive is called; DatasetUnusable for a kind that is not read."""
    with archive.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from _of_zip(file, archive.stat().st_size, meter)
        else:
            yield from _of_tar(_Metered(_unpacked(file, head), meter), meter)


def _unpacked(file: IO[bytes], head: bytes) -> Readable:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"\xfd7zXZ\0"):
        return _Xz(file)
    if head[257:262] == b"ustar":
        return file
    kinds = {b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
    kind = next((kind for magic, kind in kinds.items() if head.startswith(magic)), "another kind")
    raise DatasetUnusable(
        f"the file is no zip or tar but {kind}; pack the data set as .zip, .tar, .tar.gz or .tar.xz"
    )


class _Xz:
    """An .xz stream; unlike `lzma.open` it bounds the memory that the file asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def read(self, size: int) -> bytes:
        while not self._decompressor.eof:
            packed = self._file.read(2**16) if self._decompressor.needs_input else b""
            if not packed and self._decompressor.needs_input:
                raise EOFError("it ends in the middle")
            if unpacked := self._decompressor.decompress(packed, size):
                return unpacked
        return b""


class _Metered:
    def __init__(self, source: Readable, meter: Meter) -> None:
        self._source, self._meter = source, meter

    def read(self, size: int) -> bytes:
        content = self._source.read(size)
        self._meter.add(len(content))
        return content

    def exactly(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            part = self.read(left)
            if not part:
                raise EOFError("it ends in the middle")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


# ── zip ─────────────────────────────────────────────────────────────────────────────────────────


def _of_zip(file: IO[bytes], size: int, meter: Meter) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        _refuse_overlaps(infos, size)
        for info in infos:
            _refuse_odd(info)
            yield Member(info.orig_filename, info.is_dir(), partial(_chunks, archive, info, meter))


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> Iterator[bytes]:
    with archive.open(info) as source:
        while chunk := source.read(CHUNK):
            meter.add(len(chunk))
            yield chunk


def _refuse_overlaps(infos: list[zipfile.ZipInfo], size: int) -> None:
    """A bomb without nesting: many members that share their packed bytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise DatasetUnusable("the zip's members overlap, as in a bomb; pack it anew")
        end = info.header_offset + 30 + info.compress_size
    if end > size:
        raise DatasetUnusable("the zip's members reach beyond its end; send it whole")


def _refuse_odd(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "no regular file"
        raise _odd(info.filename, what)
    if info.flag_bits & 1:
        raise _odd(info.filename, "encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _odd(info.filename, "packed neither plainly nor by deflate")


def _odd(name: str, what: str) -> DatasetUnusable:
    return DatasetUnusable(
        f"the archive's member {shown(name)} is {what}; pack regular files and folders only"
    )


# ── tar ─────────────────────────────────────────────────────────────────────────────────────────

_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_UNHEEDED = (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)  # of every member; of links
_HEADERS = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, *_UNHEEDED)
_LENGTH_DIGITS = len(str(HEADER_BYTES))  # of a pax record
_KINDS = {
    **{tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a hard link", tarfile.FIFOTYPE: "a pipe"},
    **{tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device"},
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


def _of_tar(stream: _Metered, meter: Meter) -> Iterator[Member]:
    """`tarfile` reads a header's records whole, however long; so they are read here."""
    stated: dict[str, str] = {}  # of the next member, by its pax records or long name
    header_bytes = 0  # of all its headers
    while (block := stream.exactly(tarfile.BLOCKSIZE)).strip(b"\0"):
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in _HEADERS:
            meter.add_header()
            content = _small(stream, info.size, header_bytes)
            header_bytes += info.size
            if info.type not in _UNHEEDED:
                stated.update(_records(info, content))
            continue
        name = stated.get("path", info.name)
        if info.type not in (*_FILES, tarfile.DIRTYPE) or any("sparse" in key for key in stated):
            raise _odd(name, _KINDS.get(info.type, "of an unknown kind"))
        size = int(stated.get("size", info.size))
        stated, header_bytes = {}, 0
        is_folder = info.type == tarfile.DIRTYPE
        yield from _of_tar_member(stream, name, is_folder, 0 if is_folder else size)


def _of_tar_member(stream: _Metered, name: str, is_folder: bool, size: int) -> Iterator[Member]:
    if size < 0:
        raise _odd(name, f"of {size} bytes")
    left = size

    def chunks() -> Iterator[bytes]:
        nonlocal left
        while left:
            chunk = stream.exactly(min(CHUNK, left))
            left -= len(chunk)
            yield chunk

    yield Member(name, is_folder, chunks)
    for _ in chunks():  # what nobody wanted
        pass
    stream.exactly(-size % tarfile.BLOCKSIZE)


def _small(
    stream: _Metered,
    size: int,
    before: int,  # bytes of the same member's other headers
) -> bytes:
    """The content of a header's own member."""
    if size < 0 or before + size > HEADER_BYTES:
        raise DatasetUnusable(
            f"the tar has a header of {before + size} bytes; pack it anew, with tar or zip"
        )
    content = stream.exactly(size)
    stream.exactly(-size % tarfile.BLOCKSIZE)
    return content


def _records(info: tarfile.TarInfo, content: bytes) -> dict[str, str]:
    """What a pax header or a GNU long name says; its records are `length key=value\\n`."""
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    records, at, end = {}, 0, len(content.rstrip(b"\0"))
    while at < end:
        space = content.find(b" ", at, at + _LENGTH_DIGITS + 1)
        length = int(content[at:space])
        if not 0 < space - at < length <= end - at:
            raise ValueError("a pax record of a wrong length")
        key, _, value = content[space + 1 : at + length].rstrip(b"\n").partition(b"=")
        records[key.decode()] = value.decode()
        at += length
    return records
