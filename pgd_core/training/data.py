"""Loaders of training and validation pictures, through MMDetection's own pipeline."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmengine import dist
from mmengine.dataset import pseudo_collate, worker_init_fn
from torch.utils.data import DataLoader, Subset

from pgd_core.datasets.prepared import write_prepared
from pgd_core.errors import DatasetUnusable
from pgd_core.files.faults import is_storage_fault
from pgd_core.files.full_disk import lacks_room
from pgd_core.files.shares import is_bare
from pgd_core.jobs.run import DatasetFiles
from pgd_core.jobs.spec import InputSpec
from pgd_core.training.sampling import Pictures, ResumableBatches, SeededPictures

Config = dict[str, Any]


def with_prepared_annotations(files: DatasetFiles, folder: Path) -> DatasetFiles:
    """The data set with boxes clipped and areas filled in, written to `folder` as copies.

    CrowdHuman's becomes COCO JSON, beside a copy of the rows that it is validated on.
    """
    prepared = {"train_annotations": folder / "train.json", "val_annotations": folder / "val.json"}
    rows = folder / "val.odgt" if files.family == "crowdhuman" else None
    if dist.is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        for split in ("train", "val"):
            source: Path = getattr(files, f"{split}_annotations")
            images: Path = getattr(files, f"{split}_images")
            if is_bare(images):
                raise DatasetUnusable(
                    f"no picture is left in {images}; restore them, or register the data set anew"
                )
            try:
                write_prepared(source, prepared[f"{split}_annotations"], images)
                if rows and split == "val":
                    shutil.copyfile(source, rows)
            except (OSError, ValueError, KeyError, TypeError) as error:
                if lacks_room(error) or is_storage_fault(error):
                    raise
                raise DatasetUnusable(
                    f"annotations {source} cannot be read any more ({type(error).__name__}: "
                    f"{error}); restore them, or register the data set anew"
                ) from error
    dist.barrier()
    return files.model_copy(update={**prepared, "crowdhuman_val": rows})


def train_pipeline(spec: InputSpec) -> list[Config]:
    """Read, resize (to one of several short sides), flip, pack."""
    shorts = spec.multi_scale_short_sides or (spec.short_side,)
    return [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True},
        {
            "type": "RandomChoiceResize",
            "scales": [(max(spec.long_side, short), short) for short in shorts],
            "keep_ratio": True,
        },
        {"type": "RandomFlip", "prob": spec.flip_probability},
        {"type": "PackDetInputs"},
    ]


def val_pipeline(spec: InputSpec) -> list[Config]:
    """Read, resize, pack; boxes stay in the original picture's pixels."""
    meta = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (spec.long_side, spec.short_side), "keep_ratio": True},
        {"type": "PackDetInputs", "meta_keys": meta},
    ]


def truth_pipeline(spec: InputSpec) -> list[Config]:
    """The same pictures with their objects, whose boxes are in pixels of the resized picture."""
    read, *rest = val_pipeline(spec)
    return [read, {"type": "LoadAnnotations", "with_bbox": True}, *rest]


def train_loader(
    files: DatasetFiles,
    spec: InputSpec,
    *,
    images_per_pass: int,
    seed: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Any]:
    """Batches by number: set `batch_sampler.start` and `.stop`, then iterate.

    Pictures without objects are left out, as MMDetection does on COCO.
    """
    coco = _dataset(
        files.train_annotations,
        files.train_images,
        files.classes,
        train_pipeline(spec),
        filter_cfg={"filter_empty_gt": True, "min_size": 1},
    )
    if len(coco) == 0:
        raise DatasetUnusable(
            f"{files.train_annotations.name} has no picture with an object to train on"
        )
    dataset = SeededPictures(coco)
    batches = ResumableBatches(dataset.wide(), images_per_pass, seed, rank, world_size)
    return _loader(dataset, workers, batch_sampler=batches)


def val_loader(
    files: DatasetFiles,
    spec: InputSpec,
    *,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    with_objects: bool = False,
) -> DataLoader[Any]:
    """Every validation picture once, shared out to the processes."""
    pipeline = truth_pipeline(spec) if with_objects else val_pipeline(spec)
    coco = _dataset(
        files.val_annotations, files.val_images, files.classes, pipeline, test_mode=True
    )
    share = Subset(Pictures(coco), range(rank, len(coco), world_size))
    return _loader(share, workers, batch_size=batch_size)


def category_ids(annotations: Path) -> list[int]:
    """The data set's category ids, sorted: entry i is label i."""
    return sorted(category["id"] for category in json.loads(annotations.read_bytes())["categories"])


def _dataset(
    annotations: Path, images: Path, classes: tuple[str, ...], pipeline: list[Config], **more: Any
) -> Any:
    return DATASETS.build(
        {
            "type": "CheckedCocoDataset",
            "ann_file": str(annotations),
            "data_prefix": {"img": str(images)},
            "metainfo": {"classes": classes},
            "pipeline": pipeline,
            **more,
        }
    )


class _Loader(DataLoader[Any]):
    """Its processes are born deaf to SIGTERM, which `_quiet_worker` makes them hear."""

    def __iter__(self) -> Any:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _loader(dataset: Any, workers: int, **more: Any) -> DataLoader[Any]:
    return _Loader(
        dataset,
        num_workers=workers,
        collate_fn=pseudo_collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_quiet_worker if workers else None,
        **more,
    )


def _quiet_worker(worker_id: int) -> None:
    """One thread a worker; the seeds come with every picture."""
    worker_init_fn(worker_id, num_workers=1, rank=0, seed=0, disable_subprocess_warning=True)
    torch.set_num_threads(1)
    threading.Thread(target=_end_when_the_trainer_says, daemon=True).start()


def _end_when_the_trainer_says() -> None:
    """Heed SIGTERM from the trainer alone.

    Who sends it to a whole process group (torchrun, systemd) means the trainer, which needs its
    loaders for the step that it is in. They end with it in any case.
    """
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
