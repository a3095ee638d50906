from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from pgd_core.datasets.archive_members import HEADER_BYTES, _records
from pgd_core.datasets.archives import unpack
from tests.pgd_core.datasets.hostile_archives import GOOD, SMALL, tarred

_PAX = tarfile.TarInfo("x")
_PAX.type = tarfile.XHDTYPE


class _Counted(bytes):
    """Counts the bytes that are copied out of it, and out of its copies."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if isinstance(part, int):
            return part
        _Counted.copied += len(part)
        return _Counted(part)


def test_pax_records_are_read_one_after_the_other() -> None:
    content = "16 path=a b=c=d\n18 comment=\u00fc x y\n12 size=123\n".encode() + bytes(20)
    assert _records(_PAX, content) == {"path": "a b=c=d", "comment": "ü x y", "size": "123"}


def test_a_header_of_nothing_but_records_is_copied_only_once() -> None:
    content = _Counted(b"4 =\n" * 2**12)
    _Counted.copied = 0
    assert _records(_PAX, content) == {"": ""}
    assert 0 < _Counted.copied <= 2 * len(content)


@pytest.mark.parametrize("records", [b"0000003 " * 9, b"0" * 4000 + b"4 ", b"1 =\n", b"-4 =\n"])
def test_a_record_is_longer_than_its_length(records: bytes) -> None:
    """Else the same digits could be read again and again."""
    with pytest.raises(ValueError, match="pax record"):
        _records(_PAX, records)


def test_a_header_for_each_member_is_within_the_limits(tmp_path: Path) -> None:
    members = []
    for index in range(SMALL.members - len(GOOD)):
        info = tarfile.TarInfo(f"train/{index}-" + "n" * 120)
        info.pax_headers = {"mtime": "1.5"}
        members.append((info, b"x"))
    content = tarred(members)
    (tmp_path / "sent").write_bytes(content)

    assert content.count(b"mtime=1.5") == len(members)
    assert unpack(tmp_path / "sent", tmp_path / "out", SMALL).files == SMALL.members


def test_the_largest_header_of_small_records_is_read() -> None:
    assert _records(_PAX, b"4 =\n" * (HEADER_BYTES // 4)) == {"": ""}
