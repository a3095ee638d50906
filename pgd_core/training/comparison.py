"""The picture that a distil job publishes: truth, teacher and students side by side."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torch import nn

from pgd_core.evaluation.detections import Detections, read_detections, truth_of
from pgd_core.evaluation.pictures import SHOWN_FROM, ComparisonRow, comparison_picture
from pgd_core.evaluation.telling import Telling, telling_pictures
from pgd_core.jobs.run import RunSpec
from pgd_core.training.checkpoints import write_atomically
from pgd_core.training.data import category_ids, val_loader
from pgd_core.training.validation import predict

PICTURES = 6
Found = dict[int, Detections]  # by image


def draw_comparison(
    run: RunSpec,
    teacher: nn.Module,
    distilled: Path,  # what the student found in the validation pictures
    plain: Path | None,  # the same of its undistilled twin
    path: Path,
) -> None:
    """A PNG of up to six validation pictures; the two students' detections are not made anew.

    With the twin they are those of `telling_pictures`: where the students differ most, each of them
    ahead somewhere if it ever is. Without it, or where the students never differ, they are spread
    evenly over the validation pictures.
    """
    content = json.loads(run.dataset.val_annotations.read_bytes())
    truths = _truths(content)
    students = {"distilled student": read_detections(distilled)}
    chosen: list[Telling] = []
    if plain is not None:
        students = {"plain student": read_detections(plain), **students}
        chosen = telling_pictures(
            truths, students["distilled student"], students["plain student"], PICTURES
        )
    chosen = chosen or [Telling(image_id, 0) for image_id in _spread(sorted(truths), PICTURES)]
    found_by_teacher = _found(run, teacher, content, [t.image_id for t in chosen], path.parent)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    columns = {"teacher": found_by_teacher, **students}
    rows = [
        ComparisonRow(
            image=_opened(run.dataset.val_images / names[t.image_id]),
            truth=truths[t.image_id],
            columns={
                title: found.get(t.image_id, truth_of(t.image_id, []))
                for title, found in columns.items()
            },
            note=_who_leads(t.lead),
        )
        for t in chosen
    ]
    classes = {category["id"]: category["name"] for category in content["categories"]}
    write_atomically(path, lambda tmp: comparison_picture(rows, classes, tmp))


def _truths(content: dict[str, Any]) -> Found:
    objects = defaultdict(list)
    for row in content["annotations"]:
        objects[row["image_id"]].append(row)
    return {image["id"]: truth_of(image["id"], objects[image["id"]]) for image in content["images"]}


def _spread(image_ids: list[int], count: int) -> list[int]:
    return image_ids[:: max(1, -(-len(image_ids) // count))]


def _found(
    run: RunSpec, model: nn.Module, content: dict[str, Any], image_ids: list[int], folder: Path
) -> Found:
    """What a model finds in these pictures alone."""
    images = [image for image in content["images"] if image["id"] in image_ids]
    few = folder / "compared.json"
    text = json.dumps({**content, "images": images, "annotations": []})
    write_atomically(few, lambda tmp: tmp.write_text(text))
    files = run.dataset.model_copy(update={"val_annotations": few})
    loader = val_loader(files, run.input, batch_size=1, workers=0)
    detections = predict(model, loader, category_ids(few))
    return {each.image_id: each.above(SHOWN_FROM) for each in detections}


def _opened(path: Path) -> Image.Image:
    """As training reads it: turned as its EXIF entry says."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _who_leads(lead: int) -> str:
    if not lead:
        return ""
    return f"{'distilled' if lead > 0 else 'plain'} ahead by {abs(lead)}"
