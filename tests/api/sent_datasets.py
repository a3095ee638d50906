"""Small data sets as people send them, and the check that a reconciler would run."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from worker.checks import Checker

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def picture(seed: int, kind: str = "PNG") -> bytes:
    """60 x 40 pixels, another for each seed."""
    buffer = io.BytesIO()
    pixels = random.Random(seed).randbytes(60 * 40 * 3)
    Image.frombytes("RGB", (60, 40), pixels).save(buffer, kind)
    return buffer.getvalue()


def coco(seeds: list[int]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """One split: its annotations, and its pictures by name. Each shows a cat and a dog."""
    images, rows, pictures = [], [], {}
    for index, seed in enumerate(seeds, 1):
        pictures[f"{seed}.png"] = picture(seed)
        images.append({"id": index, "file_name": f"{seed}.png", "width": 60, "height": 40})
        for class_id in (1, 2):
            row = {"image_id": index, "category_id": class_id, "bbox": [1, 2, 10, 10]}
            rows.append({"id": len(rows) + 1, "area": 100, "iscrowd": 0, **row})
    return {"images": images, "annotations": rows, "categories": CATEGORIES}, pictures


def coco_files(change: Callable[[dict[str, Any]], object] = lambda _: None) -> dict[str, bytes]:
    """Members of an archive; `change` spoils the training annotations."""
    files: dict[str, bytes] = {}
    for split, seeds in (("train", [1, 2, 3]), ("val", [11, 12])):
        content, pictures = coco(seeds)
        if split == "train":
            change(content)
        files[f"{split}.json"] = json.dumps(content).encode()
        files |= {f"{split}/{name}": data for name, data in pictures.items()}
    return files


def crowd_files() -> dict[str, bytes]:
    """As CrowdHuman is packed."""
    person = {"tag": "person", "fbox": [1, 2, 10, 20], "extra": {}}
    files: dict[str, bytes] = {}
    for split, seeds in (("train", [1, 2, 3]), ("val", [11, 12])):
        rows = [json.dumps({"ID": f"{seed},a", "gtboxes": [person]}) for seed in seeds]
        files[f"annotation_{split}.odgt"] = "\n".join(rows).encode()
        files |= {f"Images/{seed},a.jpg": picture(seed, "JPEG") for seed in seeds}
    return files


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def upload(http: Any, content: bytes) -> str:
    """The id of what was sent."""
    answer = http.post("/v1/uploads", content=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def send(http: Any, content: bytes, name: str = "sent") -> str:
    """The id of the data set that the archive was registered as."""
    body = {"name": name, "source": {"upload": upload(http, content)}}
    answer = http.post("/v1/datasets", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def checker(world: Any, **options: Any) -> Checker:
    """A reconciler's, over the same database and data folder as the API."""
    scratch: Path = world.settings.data_folder / "checks"
    return Checker(world.services.library, world.services.files, scratch, **options)


def checked(world: Any, dataset_id: str) -> dict[str, Any]:
    """The data set as the API shows it, once its check is done."""
    checker(world).check_all()
    found: dict[str, Any] = world.http.get(f"/v1/datasets/{dataset_id}").json()
    return found
