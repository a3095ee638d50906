"""Which pictures make which batch, as a pure function of the seed and the batch's number.

MMEngine's loops resume by reading and throwing away everything read so far, and its augmentations
draw from the worker processes' own generators. Here batch number b is the same pictures with the
same augmentation whenever and wherever it is asked for, so that a resumed run goes on exactly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS
from torch.utils.data import Dataset, Sampler

from pgd_core.errors import DatasetUnusable
from pgd_core.files.faults import is_storage_fault, storage_fault
from pgd_core.files.shares import is_bare

Key = tuple[int, int]  # (index of a picture, seed of its augmentation)


class ResumableBatches(Sampler[list[Key]]):
    """Batches `start` to `stop` of an endless shuffled sequence, for one of `world_size` processes.

    Every epoch is its own permutation; pictures are grouped wide with wide and tall with tall, as
    MMDetection does, so that batches are padded little. A group's last batch is filled from its
    beginning. A batch is the same whatever the number of processes that share it, so that a run can
    go on with another number of them.
    """

    def __init__(
        self,
        wide: np.ndarray[Any, np.dtype[np.bool_]],  # (pictures,) whether wider than tall
        batch_size: int,  # pictures of one process in one pass
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.wide, self.seed = wide, seed
        self.batch_size = batch_size * world_size  # of all processes
        self.share = slice(rank * batch_size, (rank + 1) * batch_size)
        self.start, self.stop = 0, 0
        groups = [int(wide.sum()), int((~wide).sum())]
        self.steps_per_epoch = sum(-(-size // self.batch_size) for size in groups)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, batches = -1, np.empty((0, 0), dtype=np.int64)
        for step in range(self.start, self.stop):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                batches = self._epoch(epoch)
            pictures = batches[step % self.steps_per_epoch]
            seeds = np.random.SeedSequence([self.seed, step, 0]).generate_state(len(pictures))
            keys = list(zip(pictures.tolist(), seeds.tolist(), strict=True))
            yield keys[self.share]

    def _epoch(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:  # (batches, batch_size)
        generator = np.random.default_rng([self.seed, epoch])
        groups = []
        for member in (self.wide, ~self.wide):
            pictures = generator.permutation(np.flatnonzero(member))
            if len(pictures):
                rows = -(-len(pictures) // self.batch_size)
                groups.append(np.resize(pictures, (rows, self.batch_size)))
        return generator.permutation(np.concatenate(groups))


class Pictures(Dataset[Any]):
    """An MMDetection data set whose errors name the picture."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            path = self.dataset.get_data_info(index)["img_path"]
            # A run begins with all its pictures there: when they are gone together, nobody deleted
            # this one.
            if is_storage_fault(error) or is_bare(Path(self.dataset.data_prefix["img"])):
                raise storage_fault(f"picture {path}", error) from error
            raise DatasetUnusable(
                f"picture {path} cannot be read ({type(error).__name__}: {error}); restore it, or "
                "register the data set anew without it"
            ) from error


class SeededPictures(Dataset[Any]):
    """Pictures by key: the augmentation's generators are seeded for each picture."""

    def __init__(self, dataset: Any) -> None:
        self.pictures = Pictures(dataset)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: Key) -> Any:
        index, seed = key
        np.random.seed(seed)  # MMCV's transforms draw from numpy's global generator
        random.seed(seed)
        torch.manual_seed(seed)
        return self.pictures[index]

    def wide(self) -> np.ndarray[Any, np.dtype[np.bool_]]:  # (pictures,)
        """Whether each picture is wider than tall."""
        dataset = self.pictures.dataset
        infos = (dataset.get_data_info(i) for i in range(len(dataset)))
        return np.array([info["width"] > info["height"] for info in infos], dtype=bool)


class _CocoInIdOrder(COCO):  # type: ignore[misc]
    """MMDetection labels classes in the order of the file; the same classes, sorted by id."""

    def get_cat_ids(self, *args: Any, **kwargs: Any) -> list[int]:
        return sorted(super().get_cat_ids(*args, **kwargs))


@DATASETS.register_module(force=True)
class CheckedCocoDataset(CocoDataset):  # type: ignore[misc]
    """COCO whose label i is the i-th category by id, in every split."""

    COCOAPI = _CocoInIdOrder
