"""Taps: read what a layer gives during one forward pass, and hold nothing afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from pgd_core.distill import TowerFeatures


@contextmanager
def tap_towers(detector: nn.Module) -> Iterator[TowerFeatures]:
    """The first conv block's output of both towers, one entry per FPN level, as they are computed.

    The towers are shared by the levels, so each block is called once a level, fine to coarse.
    """
    head = cast(Any, detector).bbox_head
    features = TowerFeatures(cls=[], reg=[])
    handles = [_record(head.cls_convs[0], features.cls), _record(head.reg_convs[0], features.reg)]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def _record(block: nn.Module, into: list[Tensor]) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        into.append(output)

    return block.register_forward_hook(hook)
