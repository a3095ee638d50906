"""Pictures from outside through an exported detector, in a process of their own."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from pgd_core.errors import PictureUnusable, PredictionFailed, PredictionTimedOut
from pgd_core.predict import Limits, draw, predict


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be as large as it says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100_000)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_boxes_come_in_the_picture_s_own_pixels_best_first(model: Path) -> None:
    found = predict(model, encoded(Image.new("RGB", (300, 150))), score_threshold=0.1)
    assert [each.label for each in found] == ["cat", "dog"]
    assert found[0].box == pytest.approx((0, 0, 300, 150))
    assert found[1].box == pytest.approx((0, 0, 8 * 300 / 128, 8 * 150 / 64))
    assert [each.score for each in found] == pytest.approx([0.9, 0.2])


def test_what_scores_less_than_asked_is_not_told(model: Path) -> None:
    found = predict(model, encoded(Image.new("RGB", (64, 64))), score_threshold=0.5)
    assert [each.label for each in found] == ["cat"]


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "TIFF"), ("1", "BMP")]
)
def test_any_usual_picture_is_looked_at(model: Path, mode: str, kind: str) -> None:
    assert predict(model, encoded(Image.new(mode, (40, 30)), kind))[0].box == pytest.approx(
        (0, 0, 40, 30)
    )


def test_a_picture_is_turned_as_its_exif_entry_says(model: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    content = encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif.tobytes())
    assert predict(model, content)[0].box == pytest.approx((0, 0, 30, 40))


def test_the_drawing_is_the_picture_with_its_boxes(model: Path) -> None:
    content = draw(model, encoded(Image.new("RGB", (300, 150))))
    with Image.open(io.BytesIO(content)) as drawing:
        assert (drawing.format, drawing.size) == ("PNG", (300, 150))
        assert drawing.getpixel((0, 75)) == (255, 0, 0)
        assert drawing.getpixel((150, 140)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no picture of"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture of"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of"),
        (encoded(Image.new("RGB", (64, 64)))[:60], "cannot be read"),
        (bomb(60_000, 60_000), "60000 x 60000 pixels; 50000000 in all"),
        (bomb(2_000_000_000, 1), "2000000000 x 1 pixels"),
        (bomb(5_000, 5_000), "cannot be read"),  # fewer pixels than it claims
    ],
    ids=["nothing", "svg", "postscript", "cut off", "bomb", "line", "lying size"],
)
def test_hostile_pictures_are_refused(model: Path, content: bytes, said: str) -> None:
    with pytest.raises(PictureUnusable, match=said):
        predict(model, content)


def test_a_file_over_the_limit_is_refused_unread(model: Path) -> None:
    with pytest.raises(PictureUnusable, match="11 bytes; 10 are allowed"):
        predict(model, b"x" * 11, limits=Limits(max_bytes=10))


def test_a_picture_of_a_format_that_is_not_asked_for_is_none(model: Path) -> None:
    content = encoded(Image.new("RGB", (8, 8)), "TIFF")
    with pytest.raises(PictureUnusable, match=r"no picture of JPEG, PNG$"):
        predict(model, content, limits=Limits(formats=("JPEG", "PNG")))


def test_a_picture_s_edges_may_be_as_unlike_as_they_like(model: Path) -> None:
    found = predict(model, encoded(Image.new("RGB", (4_000, 1))))
    assert found[0].box == pytest.approx((0, 0, 4_000, 1))


def test_what_takes_too_long_is_ended(model: Path) -> None:
    with pytest.raises(PredictionTimedOut, match=r"longer than 0\.01 s"):
        predict(model, encoded(Image.new("RGB", (8, 8))), limits=Limits(time_s=0.01))


def test_what_takes_too_much_memory_is_ended(model: Path) -> None:
    picture = encoded(Image.new("RGB", (7_000, 7_000)))
    limits = Limits(memory_bytes=300 * 2**20, threads=1)
    with pytest.raises(PredictionFailed, match="memory"):
        draw(model, picture, limits=limits)


def test_a_model_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "student-nms.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(PredictionFailed, match="the detector's file cannot be loaded"):
        predict(path, encoded(Image.new("RGB", (8, 8))))


def test_asking_needs_neither_numpy_nor_onnxruntime() -> None:
    code = "import sys\nfor name in ('numpy', 'onnxruntime', 'torch', 'PIL'):\n"
    code += "    sys.modules[name] = None\nimport pgd_core.predict"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
