"""Stands in for both checks: what it does is the first argument it is given beforehand.

data set: DOES TRAIN_JSON TRAIN_DIR VAL_JSON VAL_DIR --sheet SHEET --report OUT; teacher: DOES FILE
DECLARATION FOLDER.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

does, *arguments = sys.argv[1:]
out = Path(arguments[-1])


def answer_dataset(usable: bool) -> None:
    report = {"usable": usable, "errors": [] if usable else [{"code": "no_images"}]}
    report |= {"warnings": [], "classes": ["0", "1"], "sha256": "ab" * 32, "paths": arguments[:4]}
    out.write_text(json.dumps(report))
    if usable:
        Path(arguments[arguments.index("--sheet") + 1]).write_bytes(b"JPEG")
    sys.exit(0 if usable else 1)


def answer_teacher(usable: bool) -> None:
    if usable:
        (out / "teacher.safetensors").write_bytes(Path(arguments[0]).read_bytes().upper())
    message = "" if usable else "80 classes, not 2"
    answer_in_words({"usable": usable, "message": message})


def answer_in_words(answer: dict[str, object], *, weights: bool = False) -> None:
    if weights:
        (out / "teacher.safetensors").write_bytes(b"WEIGHTS")
    (out / "check.json").write_text(json.dumps(answer))
    sys.exit(0)


def recognised(**more: object) -> dict[str, object]:
    """As the check answers of a file that nobody declared; with what it was told."""
    told = json.loads(Path(arguments[1]).read_bytes())
    seen = {"detector": "fcos", "backbone": "resnet50", "classes": 2, "notes": [json.dumps(told)]}
    model = {"detector": "fcos", "backbone": {"name": "resnet50"}}
    return {"usable": True, "recognised": {**seen, "model": model, **more}, "undeclared": True}


def has_network() -> bool:
    return any(name != "lo" for _, name in socket.if_nameindex())


match does:
    case "dataset_usable" | "dataset_unusable":
        answer_dataset(does == "dataset_usable")
    case "teacher_usable" | "teacher_unusable":
        answer_teacher(does == "teacher_usable")
    case "teacher_recognised":
        answer_in_words(recognised(), weights=True)
    case "teacher_without_model":
        answer_in_words(recognised(model=None), weights=True)
    case "teacher_of_another_kind":
        refused = {"usable": False, "message": "it looks like RetinaNet"}
        answer_in_words({**recognised(detector="RetinaNet", model=None), **refused})
    case "answer_of_another_shape":
        answer_in_words({"usable": "very", "recognised": [1]}, weights=True)
    case "answer_without_end":
        answer_in_words({"usable": False, "message": "x" * 2**23})
    case "tell":
        seen = {"environment": dict(os.environ), "folder": os.getcwd(), "network": has_network()}  # noqa: PTH109
        out.write_text(json.dumps({"usable": True, "seen": seen}))
    case "crash":
        sys.exit("no such format")
    case "hang":
        time.sleep(600)
    case "eat_memory":
        bytearray(2**31)
    case "spin":
        while True:
            pass
    case "fill_disk":
        with (out / "teacher.safetensors").open("wb") as file:
            for _ in range(64):
                file.write(bytes(2**20))
