from __future__ import annotations

from itertools import chain
from typing import ClassVar

import numpy as np
import pytest

from pgd_core.errors import DatasetUnusable
from pgd_core.training.sampling import Pictures, ResumableBatches, SeededPictures


def batches(pictures: int = 10, batch: int = 3, seed: int = 0, **more: int) -> ResumableBatches:
    wide = np.arange(pictures) % 3 == 0
    return ResumableBatches(wide, batch, seed, **more)


def drawn(sampler: ResumableBatches, start: int, stop: int) -> list[list[tuple[int, int]]]:
    sampler.start, sampler.stop = start, stop
    return list(sampler)


def test_starting_later_gives_the_rest_of_the_same_sequence() -> None:
    whole = drawn(batches(), 0, 20)
    for start in (1, 7, 19):
        assert drawn(batches(), start, 20) == whole[start:]


def test_an_epoch_shows_every_picture_and_another_order_each_time() -> None:
    sampler = batches()
    epochs = [
        [key[0] for b in drawn(sampler, e * n, (e + 1) * n) for key in b]
        for n in [sampler.steps_per_epoch]
        for e in range(2)
    ]
    assert all(set(epoch) == set(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_batches_do_not_mix_wide_with_tall() -> None:
    sampler = batches()
    for batch in drawn(sampler, 0, 12):
        assert len({index % 3 == 0 for index, _ in batch}) == 1
        assert len(batch) == 3


@pytest.mark.parametrize("processes", [2, 4])
def test_a_step_is_the_same_whatever_the_number_of_processes(processes: int) -> None:
    one = drawn(batches(10, 8), 0, 9)
    shares = [
        drawn(batches(10, 8 // processes, rank=rank, world_size=processes), 0, 9)
        for rank in range(processes)
    ]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == one
    assert batches(10, 8 // processes, world_size=processes).steps_per_epoch == (
        batches(10, 8).steps_per_epoch
    )


def test_augmentation_seeds_differ_by_picture_step_and_process() -> None:
    keys = [
        key for rank in range(2) for b in drawn(batches(rank=rank, world_size=2), 0, 9) for key in b
    ]
    assert len({seed for _, seed in keys}) == len(keys)


def test_another_seed_is_another_sequence() -> None:
    assert drawn(batches(seed=0), 0, 4) != drawn(batches(seed=1), 0, 4)


@pytest.mark.parametrize("wide", [True, False])
def test_pictures_of_one_shape_only(wide: bool) -> None:
    sampler = ResumableBatches(np.full(4, wide), 8, 0)
    assert sampler.steps_per_epoch == 1
    assert len(drawn(sampler, 0, 1)[0]) == 8


class _Random:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, _index: int) -> float:
        return float(np.random.rand())

    def get_data_info(self, _index: int) -> dict[str, str]:
        return {"img_path": "folder/one.png"}


def test_the_augmentation_of_a_key_is_always_the_same() -> None:
    pictures = SeededPictures(_Random())
    assert pictures[(0, 5)] == pictures[(0, 5)] != pictures[(0, 6)]


def test_a_picture_that_cannot_be_read_is_named() -> None:
    class Broken(_Random):
        data_prefix: ClassVar = {"img": "."}

        def __getitem__(self, _index: int) -> float:
            raise OSError("gone")

    with pytest.raises(DatasetUnusable, match=r"folder/one\.png.*gone"):
        Pictures(Broken())[0]
