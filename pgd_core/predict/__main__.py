"""One picture through one exported detector: `python -m pgd_core.predict ORDER < PICTURE`.

ORDER is JSON, as `pgd_core.predict` writes it. Answers on stdout: boxes as JSON, or the drawing as
PNG. What is refused is one line of JSON on stderr, code and message, and exit status 1.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from pgd_core.errors import PgdError, PictureUnusable, PredictionFailed


def main() -> int:
    """Answer one order."""
    order = json.loads(sys.argv[1])
    _limit_this_process(order)
    try:
        sys.stdout.buffer.write(_answer(order, sys.stdin.buffer.read()))
    except MemoryError:
        return _refused(
            PredictionFailed("memory does not suffice for this picture; send a smaller")
        )
    except PgdError as error:
        return _refused(error)
    return 0


def _refused(error: PgdError) -> int:
    word = {"code": error.code, "message": error.message}
    print(json.dumps(word), file=sys.stderr)  # noqa: T201
    return 1


def _limit_this_process(order: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # not Linux: where memory runs out, the server shall live on
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (order["cpu_s"], order["cpu_s"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    if sys.platform == "linux":  # macOS refuses it
        resource.setrlimit(resource.RLIMIT_AS, (order["memory_bytes"],) * 2)


def _answer(order: dict[str, Any], content: bytes) -> bytes:
    picture = _opened(content, order["max_pixels"], order["formats"])
    infer, session = _session(order)
    try:
        found = infer.detect(session, picture)
    except Exception as error:  # onnxruntime's own have no common class
        raise PredictionFailed(f"the detector cannot look at this picture: {error}") from error
    found = [each for each in found if each[1] >= order["score_threshold"]]
    if order["answer"] == "drawing":
        infer.draw(picture, found)
        drawing = io.BytesIO()
        picture.save(drawing, "PNG", compress_level=1)  # large ones would take most of the time
        return drawing.getvalue()
    rows = [{"box": box, "score": score, "label": label} for box, score, label in found]
    return json.dumps(rows).encode()


def _opened(content: bytes, max_pixels: int, formats: list[str]) -> Image.Image:
    """As RGB, turned as its EXIF entry says; its size is known before a pixel is unpacked."""
    Image.MAX_IMAGE_PIXELS = None  # ours is stricter
    warnings.simplefilter("ignore")  # of odd metadata, which is not read
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            if image.width * image.height > max_pixels:
                raise PictureUnusable(
                    f"the picture has {image.width} x {image.height} pixels; {max_pixels} in all "
                    "are allowed"
                )
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise PictureUnusable(f"this is no picture of {', '.join(formats)}") from error
    except (PictureUnusable, MemoryError):
        raise
    except Exception as error:  # whatever a decoder comes up with
        raise PictureUnusable(f"the picture cannot be read: {error}") from error


def _session(order: dict[str, Any]) -> tuple[Any, Any]:
    """The module that knows how to ask, and the detector."""
    try:
        import onnxruntime

        from pgd_core.predict import infer
    except ImportError as error:
        raise PredictionFailed(
            f"this server cannot run detectors ({error}); install pgd[predict] on it"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = order["threads"], 1
    try:
        return infer, onnxruntime.InferenceSession(order["model"], options)
    except Exception as error:  # onnxruntime's own have no common class
        raise PredictionFailed(f"the detector's file cannot be loaded: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
