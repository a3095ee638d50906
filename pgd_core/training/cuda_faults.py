"""What CUDA's errors say: that the machine cannot work, or that it broke off under this job."""

from __future__ import annotations

import re

import torch

from pgd_core.errors import GpuFault, MachineUnusable, RunFailed, with_origins

_FAULT = re.compile(r"(CUDA error|Cuda failure)\b[^\n]*")  # torch's words, and NCCL's
# The program's own mistakes, which another GPU would not forgive either.
_OF_THE_PROGRAM = re.compile(
    "device-side assert|invalid (configuration )?argument|out of memory|"
    "CUBLAS_STATUS_(INVALID_VALUE|NOT_SUPPORTED)"
)
# What no job does to a GPU.
_OF_THE_MACHINE = re.compile(
    "uncorrectable|no CUDA-capable device|busy or unavailable|invalid device ordinal|"
    "not yet initialized|initialization error|driver version|unsupported display driver|"
    "no kernel image"
)
_LOOK = "look at nvidia-smi and at the kernel's log of this machine"


def no_gpu() -> MachineUnusable:
    """Of a trainer that was given a GPU of which torch sees nothing."""
    try:
        torch.empty(0, device="cuda")
        why = "it does not say why"
    except Exception as error:
        why = _first_line(error)
    return MachineUnusable(f"a GPU was given to this job, but torch sees none ({why}); {_LOOK}")


def cuda_fault(error: BaseException) -> RunFailed | None:
    """The error in our words where CUDA broke off, and not by a mistake of the program's."""
    said = (_FAULT.search(str(each)) for each in with_origins(error))
    told = next((found[0] for found in said if found), None)
    if told is None or _OF_THE_PROGRAM.search(told):
        return None
    if _OF_THE_MACHINE.search(told):
        return MachineUnusable(f"the GPU cannot be used ({told}); {_LOOK}")
    return GpuFault(f"the GPU broke off ({told}); where that happens to one machine only, {_LOOK}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
