"""What a worker's machine has to give to jobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A slot that one trainer uses: a GPU, a MIG instance of one, or a share of the processor."""

    slot: int  # 0.. within the worker
    name: str  # "NVIDIA H100 80GB HBM3", or "CPU slot"
    uuid: str  # as CUDA_VISIBLE_DEVICES takes it, GPU-… or MIG-…; "" for a CPU slot
    memory_mb: int  # MiB in all: of the GPU; of a CPU slot its share of the machine's memory
