"""A job of kind `analyse`: every validation picture once through the teacher.

One forward pass a picture serves everything: drawings, each object's numbers, and the boxes that
are found without each share of the best predictions. `analysis_outputs` says what is published.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mmengine import dist
from torch import nn

from pgd_core.distill import PgdParameters
from pgd_core.errors import InvalidSpec
from pgd_core.evaluation.concentration import ObjectRow, object_rows, summary
from pgd_core.evaluation.dense import DenseLook, look_at
from pgd_core.evaluation.detections import Detections
from pgd_core.evaluation.heat import mask_rows, quality_row
from pgd_core.evaluation.hiding import best_of_objects, detect_without, hidden_positions
from pgd_core.evaluation.sheets import HeatRow
from pgd_core.jobs.spec import AnalyseJob
from pgd_core.training.analysis_outputs import LEVELS, SERIES, Curve, write_analysis
from pgd_core.training.data import category_ids, val_loader
from pgd_core.training.progress import Reporter
from pgd_core.training.validation import detections, named_metrics
from pgd_core.training.variant import Context

LOOKING = 0.8  # share of the job that the pictures are; the rest are COCO's metrics
LINES = 40  # of progress while the pictures are looked at
NUMBERS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")

Case = tuple[str, float]  # what a share is of, percent
NOTHING: Case = ("", 0.0)


@dataclass
class Notes:
    """What is kept of the pictures seen: detections, numbers and a few drawings."""

    found: dict[Case, list[Detections]] = field(default_factory=lambda: defaultdict(list))
    hidden: dict[Case, int] = field(default_factory=lambda: defaultdict(int))  # positions
    pools: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # all there are
    objects: list[ObjectRow] = field(default_factory=list)
    heats: dict[int, HeatRow] = field(default_factory=dict)  # by image id
    masks: dict[int, HeatRow] = field(default_factory=dict)

    def add(self, other: Notes) -> None:
        """Take in another process's notes."""
        for case, found in other.found.items():
            self.found[case] += found
            self.hidden[case] += other.hidden[case]
        for among, count in other.pools.items():
            self.pools[among] += count
        self.objects += other.objects
        self.heats |= other.heats
        self.masks |= other.masks


def analyse(context: Context, job: AnalyseJob) -> dict[str, Any]:
    """Look at every picture, measure, draw; returns what metrics.json holds."""
    notes = Notes()
    for share in dist.all_gather_object(_look_at_all(context, job)):
        notes.add(share)
    metrics = _metrics(context, job, notes)
    curves: dict[str, Curve] = {
        among: _curve(among, job, notes, metrics) for among in job.hide_among
    }
    objects = {
        branch: summary([row for row in notes.objects if row.branch == branch], LEVELS)
        for branch in _xi(job)
    }
    if dist.is_main_process():
        context.reporter.stage("drawing")
        heats, masks = ([rows[i] for i in sorted(rows)] for rows in (notes.heats, notes.masks))
        write_analysis(context.folder, notes.objects, curves, heats, masks)
    return {
        "detector": {"metrics": metrics[NOTHING]},
        "analysis": {"hide": curves, "objects": objects, "drawn_images": sorted(notes.heats)},
    }


def _xi(job: AnalyseJob) -> dict[str, float]:
    return {"cls": job.xi_cls, "reg": job.xi_reg}


def _cases(job: AnalyseJob) -> list[Case]:
    return [NOTHING, *((a, p) for a in job.hide_among for p in job.hide_percents if p > 0)]


def _look_at_all(context: Context, job: AnalyseJob) -> Notes:
    """This process's share of the pictures."""
    if context.teacher is None:
        raise InvalidSpec("a job of kind 'analyse' needs a teacher; give its file")
    files, world = context.run.dataset, dist.get_world_size()
    loader = val_loader(
        files,
        job.input,
        batch_size=max(1, job.batch_size // world),
        workers=job.workers,
        rank=dist.get_rank(),
        world_size=world,
        with_objects=True,
    )
    ids, chosen = category_ids(files.val_annotations), _chosen(files.val_annotations, job.pictures)
    notes, pace = Notes(), _Pace(context.reporter, len(cast(Any, loader.dataset)))
    for batch in context.stop.heard_between(loader):
        look = look_at(context.teacher, batch, _xi(job))
        notes.objects += object_rows(look, files.classes)
        _note_findings(notes, context.teacher, job, look, ids)
        _draw(notes, job, look, chosen)
        pace.after(len(look.samples))
    return notes


def _chosen(annotations: Path, count: int) -> set[int]:
    """Ids of images with objects, evenly through the file, not picked by what was found."""
    content = json.loads(annotations.read_bytes())
    with_objects = {row["image_id"] for row in content["annotations"] if not row["iscrowd"]}
    ids = [image["id"] for image in content["images"] if image["id"] in with_objects]
    count = min(count, len(ids))
    return {ids[index * len(ids) // count] for index in range(count)}


def _note_findings(
    notes: Notes, teacher: nn.Module, job: AnalyseJob, look: DenseLook, ids: list[int]
) -> None:
    """What is found in the batch without each share of the best predictions."""
    quality = best_of_objects(look.quality["cls"])
    pools = {"boxes": look.eligible.any(dim=1), "picture": look.usable}
    for among, pool in pools.items():
        notes.pools[among] += int(pool.sum())
    metas = [sample.metainfo for sample in look.samples]
    for among, percent in _cases(job):
        hidden = hidden_positions(quality, pools.get(among, look.usable), percent)
        found = detect_without(cast(Any, teacher).bbox_head, look.outputs, metas, hidden)
        notes.hidden[among, percent] += int(hidden.sum())
        notes.found[among, percent] += [
            detections(sample.img_id, instances, ids)
            for sample, instances in zip(look.samples, found, strict=True)
        ]


def _draw(notes: Notes, job: AnalyseJob, look: DenseLook, chosen: set[int]) -> None:
    drawn = {i: s.img_id for i, s in enumerate(look.samples) if s.img_id in chosen}
    if not drawn:
        return
    hyper = PgdParameters(xi_cls=job.xi_cls, xi_reg=job.xi_reg, top_k=job.top_k)
    masks = mask_rows(look, list(drawn), hyper)
    for (index, image_id), mask in zip(drawn.items(), masks, strict=True):
        notes.heats[image_id] = quality_row(look, index, _xi(job))
        notes.masks[image_id] = mask


class _Pace:
    """Says now and then how many pictures have been seen and how long the rest takes."""

    def __init__(self, reporter: Reporter, pictures: int) -> None:
        self.reporter, self.pictures, self.seen = reporter, pictures, 0
        self.started, self.said = time.monotonic(), 0
        reporter.stage("looking at the pictures", "teacher")

    def after(self, pictures: int) -> None:
        self.seen += pictures
        lines = self.seen * LINES // self.pictures
        if lines == self.said:
            return
        self.said = lines
        share = self.seen / self.pictures
        left_s = (time.monotonic() - self.started) * (1 / (share * LOOKING) - 1)
        self.reporter.stage(
            f"looked at {share:.0%} of the pictures", done=share * LOOKING, eta_s=round(left_s, 1)
        )


def _metrics(context: Context, job: AnalyseJob, notes: Notes) -> dict[Case, dict[str, Any]]:
    """COCO's numbers of each case; detections of a case that is measured are let go."""
    cases, found = _cases(job), {}
    for number, case in enumerate(cases):
        context.stop.check()
        done = LOOKING + (1 - LOOKING) * number / len(cases)
        context.reporter.stage(f"measuring AP with {_words(case)} hidden", done=done)
        found[case] = named_metrics(context.run.dataset, notes.found.pop(case))
    return found


def _words(case: Case) -> str:
    return "nothing" if case == NOTHING else f"the best {case[1]:g} % {SERIES[case[0]]}"


def _curve(among: str, job: AnalyseJob, notes: Notes, metrics: dict[Case, dict[str, Any]]) -> Curve:
    """One row for each share; what was hidden is more than the share, by rounding up."""
    cases = [NOTHING if percent == 0 else (among, percent) for percent in job.hide_percents]
    return [
        {
            "percent": case[1],
            "hidden_positions": notes.hidden[case],
            "hidden_percent": round(100 * notes.hidden[case] / max(1, notes.pools[among]), 3),
            **{name: metrics[case][name] for name in NUMBERS},
        }
        for case in cases
    ]
