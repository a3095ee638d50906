"""What all processes of a run have to agree on; one process alone agrees with itself."""

from __future__ import annotations

from typing import TypeVar

import torch
from mmengine import dist

T = TypeVar("T")


def agree(mine: bool, op: str) -> bool:
    """The same answer on all processes: "max", whether it is any's; "min", whether all's."""
    return bool(_reduced(float(mine), op))


def most(mine: int) -> int:
    """The greatest of all processes' numbers."""
    return int(_reduced(float(mine), "max"))


def of_first(mine: T) -> T:
    """The first process's value, on all."""
    told = [mine]
    dist.broadcast_object_list(told)
    return told[0]


def _reduced(mine: float, op: str) -> float:
    if dist.get_world_size() == 1:
        return mine
    value = torch.tensor(mine, device=dist.get_comm_device())
    dist.all_reduce(value, op=op)
    return float(value)
