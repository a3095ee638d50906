"""One picture of what a job came to: the truth, the teacher and the students side by side.

`python -m pgd_core.training.showcase --folder DOWNLOADS --data DATA --out comparison.png`

DOWNLOADS holds NAME.pth and NAME_config.py of each detector and `mmcv_operators.py`. They are
loaded as any MMDetection user would: operators, `init_detector`, `inference_detector`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pgd_core.datasets.layout import DatasetFiles
from pgd_core.datasets.prepared import read_coco
from pgd_core.evaluation.detections import Detections, truth_of
from pgd_core.evaluation.pictures import ComparisonRow, comparison_picture

TITLES = {  # in the order of the columns
    "detector": "teacher",
    "plain_student": "plain student",
    "head_only_student": "head-only student",
    "student": "distilled student",
}


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--data", type=Path, required=True, help="with val.json or val.odgt, and val/"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=3)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.folder))
    importlib.import_module("mmcv_operators")
    names = [name for name in TITLES if (arguments.folder / f"{name}.pth").exists()]
    if not names:
        parser.error(f"{arguments.folder} holds no detector; download a job's artifacts into it")
    files = DatasetFiles.under(arguments.data)
    content = read_coco(files.val_annotations, files.val_images)
    rows = _rows(files.val_images, content, arguments.folder, names, arguments.pictures)
    classes = {category["id"]: category["name"] for category in content["categories"]}
    comparison_picture(rows, classes, arguments.out)


def _rows(
    images: Path, content: dict[str, Any], folder: Path, names: list[str], count: int
) -> list[ComparisonRow]:
    """Pictures evenly through the validation set, not picked by what was found in them."""
    chosen = content["images"][:: max(1, len(content["images"]) // count)][:count]
    category_ids = np.array(sorted(category["id"] for category in content["categories"]))
    objects = defaultdict(list)
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    found = {name: _detect(folder, name, images, chosen, category_ids) for name in names}
    return [
        ComparisonRow(
            image=Image.open(images / entry["file_name"]).convert("RGB"),
            truth=truth_of(entry["id"], objects[entry["id"]]),
            columns={TITLES[name]: found[name][row] for name in names},
        )
        for row, entry in enumerate(chosen)
    ]


def _detect(
    folder: Path, name: str, images: Path, chosen: list[dict[str, Any]], category_ids: Any
) -> list[Detections]:
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(
        str(folder / f"{name}_config.py"), str(folder / f"{name}.pth"), device="cpu"
    )
    paths = [str(images / entry["file_name"]) for entry in chosen]
    detections = []
    for entry, sample in zip(chosen, inference_detector(model, paths), strict=True):
        instances = sample.pred_instances.numpy()
        detections.append(
            Detections(
                entry["id"], instances.bboxes, instances.scores, category_ids[instances.labels]
            )
        )
    return detections


if __name__ == "__main__":
    main()
