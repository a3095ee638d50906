"""Archives that would do harm if they were unpacked as they say; made when a test asks for one.

Each writer takes the path to write to. `CASES` names each with what its refusal has to say.
"""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pgd_core.datasets.archive_members import ArchiveLimits

GOOD = {"train.json": b"{}", "train/1.jpg": b"1", "val.json": b"{}", "val/2.jpg": b"2"}
SMALL = ArchiveLimits(
    members=50, file_bytes=2**20, total_bytes=2**22, ratio=20, ratio_free_bytes=2**16
)


@dataclass(frozen=True)
class Case:
    """One hostile archive, to be read within `SMALL`."""

    write: Callable[[Path], object]
    says: str  # a pattern that the refusal matches


# ── zip ─────────────────────────────────────────────────────────────────────────────────────────


def zipped(
    members: Iterable[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """A zip of the good files and these, names as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in [*GOOD.items(), *members]:
            archive.writestr(name, content, compression)
    return buffer.getvalue()


def zip_of(*names: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(zipped([(name, b"x") for name in names]))


def _zip_kind(kind: int) -> Callable[[Path], object]:
    info = zipfile.ZipInfo("train/odd")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return lambda path: path.write_bytes(zipped([(info, b"/etc/passwd")]))


def _zip_nul(path: Path) -> None:
    content = zipped([("train/evilXjpg", b"x")])
    path.write_bytes(content.replace(b"train/evilXjpg", b"train/evil\0jpg"))


def _zip_encrypted(path: Path) -> None:
    content = bytearray(zipped([]))
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))


def _zip_bomb(path: Path) -> None:
    path.write_bytes(zipped([(f"train/{i}", bytes(2**20)) for i in range(4)], zipfile.ZIP_DEFLATED))


def _zip_shared(path: Path) -> None:
    """Every member's entry points to the packed bytes of the first."""
    content = bytearray(zipped([(f"train/{i}.png", bytes(1000)) for i in range(9)]))
    first = at = content.index(b"PK\x01\x02")
    while (at := content.find(b"PK\x01\x02", at + 4)) > 0:
        content[at + 42 : at + 46] = content[first + 42 : first + 46]
    path.write_bytes(bytes(content))


def _zip_of_smaller_size(path: Path) -> None:
    """The entry says 10 bytes, where 1000 are packed."""
    content = bytearray(zipped([("train/3.png", bytes(1000))], zipfile.ZIP_DEFLATED))
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, 10)
    path.write_bytes(bytes(content))


def _zip_of_two_names(path: Path) -> None:
    """The directory says another name than the member itself."""
    content = zipped([("train/3.png", b"x")])
    at = content.index(b"train/3.png")
    path.write_bytes(content[:at] + b"../../../ev" + content[at + 11 :])


def _broken_sum(path: Path) -> None:
    content = zipped([("train/3.png", b"the content")])
    path.write_bytes(content.replace(b"the content", b"THE CONTENT", 1))


def _half(path: Path) -> None:
    content = zipped([("train/3.png", bytes(1000))])
    path.write_bytes(content[: len(content) // 2])


# ── tar ─────────────────────────────────────────────────────────────────────────────────────────


def tarred(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A tar of the good files and these."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        good = [(tarfile.TarInfo(name), content) for name, content in GOOD.items()]
        for info, content in [*good, *members]:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_of(*names: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(tarred([(tarfile.TarInfo(n), b"x") for n in names]))


def _tar_kind(kind: bytes, link: str = "") -> Callable[[Path], object]:
    info = tarfile.TarInfo("train/odd")
    info.type, info.linkname = kind, link
    return lambda path: path.write_bytes(tarred([(info, b"")]))


def _through_a_link(path: Path) -> None:
    """A link out of the folder, and a file written through it."""
    link = tarfile.TarInfo("train/out")
    link.type, link.linkname = tarfile.SYMTYPE, "../../.."
    path.write_bytes(tarred([(link, b""), (tarfile.TarInfo("train/out/canary"), b"x")]))


def _header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _tar_headers(*parts: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(b"".join(parts) + bytes(1024))


def _long_name(path: Path) -> None:
    path.write_bytes(gzip.compress(_header("x", tarfile.GNUTYPE_LONGNAME, 2**34) + bytes(2**22)))


def _pax(records: bytes) -> Callable[[Path], object]:
    padded = records + bytes(-len(records) % 512)
    return _tar_headers(
        _header("x", tarfile.XHDTYPE, len(records)), padded, _header("y", tarfile.REGTYPE, 0)
    )


def _large_headers(path: Path) -> None:
    """Each within its limit, before one member."""
    header = _header("x", tarfile.XHDTYPE, 600 * 1024)
    _tar_headers(header, bytes(600 * 1024), header, bytes(600 * 1024))(path)


def _tar_bomb(path: Path) -> None:
    info = tarfile.TarInfo("train/big")
    path.write_bytes(gzip.compress(tarred([(info, bytes(2**20))])))


def _xz_of_much_memory(path: Path) -> None:
    """Its header asks for a dictionary of 1.5 GiB."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**26}]
    content = bytearray(lzma.compress(tarred([]), check=lzma.CHECK_NONE, filters=filters))
    at = content.index(b"\x21\x01", 12) + 2  # LZMA2's id, one byte of properties
    content[at] = 39  # the largest but one
    header = (content[12] + 1) * 4
    struct.pack_into("<I", content, 12 + header - 4, zlib.crc32(content[12 : 12 + header - 4]))
    path.write_bytes(bytes(content))


def _cut(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content[: len(content) * 2 // 3])


_E_ACUTE = "é"
_NESTED = ["/".join(f"{part}-{i}" for part in "abcdefghijk") + "/1.jpg" for i in range(6)]

CASES: dict[str, Case] = {
    "zip: ..": Case(zip_of("../canary"), "climbs"),
    "zip: .. inside": Case(zip_of("train/../../canary"), "climbs"),
    "zip: absolute": Case(zip_of("/tmp/canary"), "is absolute"),
    "zip: a backslash": Case(zip_of("train\\..\\..\\canary"), "backslash"),
    "zip: a drive": Case(zip_of("C:/canary"), "is absolute"),
    "zip: a colon": Case(zip_of("train/1.jpg:stream"), "colon"),
    "zip: NUL": Case(_zip_nul, "holds a NUL"),
    "zip: a control character": Case(zip_of("train/\x1b[2J"), "unprintable"),
    "zip: an override of direction": Case(zip_of("train/\u202egpj.exe"), "unprintable"),
    "zip: an empty part": Case(zip_of("train//3.jpg"), "empty part"),
    "zip: a name twice": Case(zip_of("train/1.jpg"), "is there twice"),
    "zip: case": Case(zip_of("train/A.jpg", "train/a.JPG"), "the same to some systems"),
    "zip: case of a folder": Case(zip_of("Train/3.jpg"), "the same to some systems"),
    "zip: unicode forms": Case(
        zip_of(*(f"train/{unicodedata.normalize(form, _E_ACUTE)}" for form in ("NFC", "NFD"))),
        "the same to some systems",
    ),
    "zip: a file as a folder": Case(zip_of("train/1.jpg/2.jpg"), "below what is a file"),
    "zip: a folder as a file": Case(zip_of("train"), "is there twice"),
    "zip: reserved": Case(zip_of("train/NUL.jpg"), "Windows reserves"),
    "zip: a dot at the end": Case(zip_of("train/3.jpg."), "ends in a dot"),
    "zip: a long path": Case(zip_of("/".join(["a" * 90] * 5)), "a path of 454 bytes"),
    "zip: a long name": Case(zip_of("a" * 201), "a name of over 200"),
    "zip: deep": Case(zip_of("/".join("a" * 13)), "13 levels deep"),
    "zip: a link": Case(_zip_kind(stat.S_IFLNK), "is a link"),
    "zip: a device": Case(_zip_kind(stat.S_IFCHR), "no regular file"),
    "zip: encrypted": Case(_zip_encrypted, "encrypted"),
    "zip: bzip2": Case(
        lambda path: path.write_bytes(zipped([], zipfile.ZIP_BZIP2)), "neither plainly"
    ),
    "zip: a bomb": Case(_zip_bomb, "unpacks to over"),
    "zip: members that overlap": Case(_zip_shared, "overlap"),
    "zip: a smaller size": Case(_zip_of_smaller_size, "cannot be read"),
    "zip: two names": Case(_zip_of_two_names, "cannot be read"),
    "zip: a wrong sum": Case(_broken_sum, "cannot be read"),
    "zip: half": Case(_half, "cannot be read"),
    "zip: too large a file": Case(
        lambda path: path.write_bytes(zipped([("train/3.jpg", bytes(2**20 + 1))])),
        "has over 1048576",
    ),
    "zip: too many": Case(zip_of(*map(str, range(60))), "over 50 members"),
    "zip: folders without end": Case(zip_of(*_NESTED), "over 50 folders"),
    "tar: ..": Case(tar_of("../canary"), "climbs"),
    "tar: absolute": Case(tar_of("/tmp/canary"), "is absolute"),
    "tar: a link": Case(_tar_kind(tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
    "tar: a hard link": Case(_tar_kind(tarfile.LNKTYPE, "train.json"), "is a hard link"),
    "tar: through a link": Case(_through_a_link, "is a link"),
    "tar: a device": Case(_tar_kind(tarfile.CHRTYPE), "is a device"),
    "tar: a block device": Case(_tar_kind(tarfile.BLKTYPE), "is a device"),
    "tar: a pipe": Case(_tar_kind(tarfile.FIFOTYPE), "is a pipe"),
    "tar: sparse": Case(_tar_kind(tarfile.GNUTYPE_SPARSE), "is a sparse file"),
    "tar: an unknown kind": Case(_tar_headers(_header("x", b"Q", 0)), "of an unknown kind"),
    "tar: a name of 16 GiB": Case(_long_name, "a header of 17179869184 bytes"),
    "tar: long names without end": Case(
        _tar_headers(*[_header("x", tarfile.GNUTYPE_LONGNAME, 0)] * 60), "over 50 headers"
    ),
    "tar: pax headers without end": Case(
        _tar_headers(*[_header("x", tarfile.XHDTYPE, 0)] * 60), "over 50 headers"
    ),
    "tar: headers of much": Case(_large_headers, "a header of 1228800 bytes"),
    "tar: folders without end": Case(tar_of(*_NESTED), "over 50 folders"),
    "tar: a negative size": Case(_pax(b"12 size=-99\n"), "of -99 bytes"),
    "tar: a path of pax that climbs": Case(_pax(b"16 path=../../c\n"), "climbs"),
    "tar: a pax record of a wrong length": Case(_pax(b"99 path=x\n"), "cannot be read"),
    "tar: a pax record shorter than its length": Case(_pax(b"2 path=x\n"), "cannot be read"),
    "tar: a pax record without a length": Case(_pax(b" path=x\n"), "cannot be read"),
    "tar: a pax record without an end": Case(_pax(b"9" * 400), "cannot be read"),
    "tar: pax that is no number": Case(_pax(b"xx path=x\n"), "cannot be read"),
    "tar: pax that is sparse": Case(_pax(b"22 GNU.sparse.major=1\n"), "unknown kind|sparse"),
    "tar: a broken header": Case(
        lambda path: path.write_bytes(tarred([]).replace(b"train/1.jpg", b"trainX1.jpg")),
        "cannot be read",
    ),
    "tar: half": Case(_cut(tarred([])[:3000]), "cannot be read"),
    "tar.gz: half": Case(_cut(gzip.compress(tarred([]))), "cannot be read"),
    "tar.xz: half": Case(_cut(lzma.compress(tarred([]))), "cannot be read"),
    "tar.gz: a bomb": Case(_tar_bomb, "unpacks to over"),
    "tar.gz: nothing but zeros": Case(
        lambda path: path.write_bytes(gzip.compress(bytes(2**20))), "no data set"
    ),
    "tar.xz: a large dictionary": Case(_xz_of_much_memory, "Memory usage limit"),
    "no archive": Case(lambda path: path.write_bytes(b"<html>" * 200), "no zip or tar"),
    "empty": Case(lambda path: path.write_bytes(b""), "no zip or tar"),
    "zstd": Case(lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600)), "but zstd"),
    "an empty zip": Case(lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)), "no data set"),
}
