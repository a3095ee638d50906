"""Taps: read what a detector computes during one forward pass, and hold nothing afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from pgd_core.distill import DetectorView, TowerFeatures


@contextmanager
def tap(detector: nn.Module) -> Iterator[DetectorView]:
    """The neck's output, the first conv block's output of both towers, and the head's output.

    The view is filled as they are computed. The towers are shared by the levels, so each block is
    called once a level, fine to coarse.
    """
    parts = cast(Any, detector)
    head = parts.bbox_head
    view = DetectorView([], TowerFeatures(cls=[], reg=[]), [], [])

    def see_head(_module: nn.Module, _inputs: Any, outputs: Any) -> None:
        view.class_logits.extend(outputs[0])
        view.box_outputs.extend(outputs[1])

    handles = [
        parts.neck.register_forward_hook(lambda _module, _inputs, maps: view.neck.extend(maps)),
        _record(head.cls_convs[0], view.towers.cls),
        _record(head.reg_convs[0], view.towers.reg),
        head.register_forward_hook(see_head),
    ]
    try:
        yield view
    finally:
        for handle in handles:
            handle.remove()


def _record(block: nn.Module, into: list[Tensor]) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        into.append(output)

    return block.register_forward_hook(hook)
