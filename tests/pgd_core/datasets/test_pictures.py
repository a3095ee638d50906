from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgd_core.datasets.pictures import (
    PictureFacts,
    PictureLimits,
    plain_name,
    read_pictures,
    unsafe_part,
)
from pgd_core.datasets.report import Code


def _noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def _read(folder: Path, name: str, limits: PictureLimits | None = None) -> PictureFacts:
    return read_pictures(folder, [name], limits or PictureLimits())[name]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif"])
def test_a_picture_gives_its_size_and_content_hash(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    _noise(30, 20).save(path)
    fact = _read(tmp_path, path.name)
    assert (fact.code, fact.width, fact.height, fact.orientation) == (None, 30, 20, 1)
    assert fact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_telephones_jpeg_with_a_second_picture_is_read(tmp_path: Path) -> None:
    _noise(30, 20).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[_noise(15, 10)])
    fact = _read(tmp_path, "a.jpg")
    assert (fact.code, fact.width, fact.height) == (None, 30, 20)


def test_a_picture_in_a_subfolder_is_read(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    _noise(4, 4).save(tmp_path / "deep" / "a.png")
    assert _read(tmp_path, "deep/a.png").code is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "/etc/passwd",
        "../a.png",
        "deep/../../a.png",
        "deep\\a.png",
        "C:/a.png",
        "a\0.png",
        "a\n.png",
        "\ud800.png",
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert unsafe_part(name)
    fact = _read(tmp_path, name)
    assert fact.code is Code.UNSAFE_FILE_NAME
    fact.message.encode()


@pytest.mark.parametrize("name", ["a.png", "deep/a.png", "./a.png", "a..b.png", "größe 1.png"])
def test_an_ordinary_name_is_safe(name: str) -> None:
    assert unsafe_part(name) is None


@pytest.mark.parametrize("name", ["deep/a.png", "./deep/a.png", "././deep//./a.png"])
def test_a_file_has_one_plain_name_however_it_is_spelled(name: str) -> None:
    assert plain_name(name) == "deep/a.png"


@pytest.mark.parametrize("name", ["", "/a.png", "//a.png", "./../a.png", "a\\./b.png", "./C:/a\0"])
def test_an_unsafe_name_keeps_the_spelling_that_is_refused(name: str) -> None:
    assert plain_name(name) == name
    assert unsafe_part(name)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    _noise(4, 4).save(tmp_path / "secret.png")
    (folder / "a.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    assert _read(folder, "a.png").code is Code.UNSAFE_FILE_NAME
    assert _read(folder, "up/secret.png").code is Code.UNSAFE_FILE_NAME


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    _noise(4, 4).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert _read(tmp_path, "b.png").code is None


def test_links_in_a_circle_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert _read(tmp_path, "a.png").code is Code.PICTURE_MISSING


@pytest.mark.parametrize("name", ["gone.png", "x" * 5000, "folder"])
def test_what_cannot_be_opened_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    assert _read(tmp_path, name).code is Code.PICTURE_MISSING


def test_a_pipe_does_not_hold_the_check(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert _read(tmp_path, "a.png").code is Code.PICTURE_MISSING


def test_a_missing_folder_is_reported_for_each_picture(tmp_path: Path) -> None:
    facts = read_pictures(tmp_path / "gone", ["a.png", "b.png"], PictureLimits())
    assert {fact.code for fact in facts.values()} == {Code.PICTURE_MISSING}


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_half_a_picture_is_unreadable(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    _noise(60, 60).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert _read(tmp_path, path.name).code is Code.PICTURE_UNREADABLE


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    fact = _read(tmp_path, "a.png")
    assert fact.code is Code.PICTURE_UNREADABLE
    assert "0x" not in fact.message  # the same file gives the same message


def test_a_kind_training_cannot_decode_is_unreadable(tmp_path: Path) -> None:
    _noise(4, 4).save(tmp_path / "a.gif")
    fact = _read(tmp_path, "a.gif")
    assert fact.code is Code.PICTURE_UNREADABLE
    assert "JPEG" in fact.message


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the first, refuses the second
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(_png_header(side, side))
    assert _read(tmp_path, "a.png").code is Code.PICTURE_TOO_LARGE


def test_pixels_and_bytes_have_limits(tmp_path: Path) -> None:
    _noise(30, 20).save(tmp_path / "a.png")
    assert _read(tmp_path, "a.png", PictureLimits(pixels=600)).code is None
    assert _read(tmp_path, "a.png", PictureLimits(pixels=599)).code is Code.PICTURE_TOO_LARGE
    assert _read(tmp_path, "a.png", PictureLimits(file_bytes=99)).code is Code.PICTURE_TOO_LARGE


def test_an_exif_turn_is_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _noise(30, 20).save(tmp_path / "a.jpg", exif=exif)
    fact = _read(tmp_path, "a.jpg")
    assert (fact.orientation, fact.width, fact.height) == (6, 30, 20)


def test_progress_counts_files(tmp_path: Path) -> None:
    _noise(4, 4).save(tmp_path / "a.png")
    told: list[int] = []
    read_pictures(tmp_path, ["a.png", "gone.png"], PictureLimits(), told.append)
    assert told == [1, 2]
