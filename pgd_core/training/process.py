"""The trainer's process: device, several processes, and library errors in our words."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import cv2
import torch
from mmdet.utils import register_all_modules
from mmengine import dist
from mmengine.logging import MMLogger

from pgd_core.errors import (
    DatasetUnusable,
    MachineUnusable,
    OutOfMemory,
    PgdError,
    ProcessLost,
    with_origins,
)
from pgd_core.jobs.run import RunSpec
from pgd_core.training.cuda_faults import cuda_fault, no_gpu
from pgd_core.training.job import run_job

_LOST_LOADER = re.compile(
    r"DataLoader worker \(pid(\(s\))? [\d, ]+\) (is killed|exited)"
    r"|got end of file during message"  # multiprocessing's words for half a message
)
_LOST_PEER = (  # of gloo, then of NCCL
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "NCCL communicator was aborted",
    "remote process exited",
)


def run_in_process(run: RunSpec, folder: Path) -> dict[str, Any]:
    """`run_job`, under torchrun where RANK is set."""
    if run.device == "cuda" and not torch.cuda.is_available():
        raise no_gpu()
    cv2.setNumThreads(0)  # the loaders' processes are the parallelism
    MMLogger.get_instance("pgd").setLevel("WARNING")  # or every initialised tensor is a line
    register_all_modules(init_default_scope=True)
    try:
        if "RANK" in os.environ:
            _join_processes()
        return run_job(run, folder)
    except (DatasetUnusable, MachineUnusable) as error:
        raise type(error)(_without_workers_traceback(error)) from error
    except PgdError:
        raise
    except Exception as error:
        known = _in_our_words(error)
        if known is None:
            raise
        raise known from error
    finally:
        if dist.is_distributed():
            torch.distributed.destroy_process_group()


def _in_our_words(error: Exception) -> PgdError | None:
    told = (str(error) or type(error).__name__).splitlines()[0]
    if _is_lack_of_memory(error):
        return OutOfMemory(
            f"memory does not hold this batch ({told}); lower batch_size, raise accumulation, or "
            "use precision 'bf16'"
        )
    if (fault := cuda_fault(error)) is not None:
        return fault
    if _is_loss_of_a_loader(error):
        return ProcessLost(f"a process that reads pictures was lost; is memory short? ({told})")
    if dist.is_distributed() and any(words in str(error) for words in _LOST_PEER):
        return ProcessLost(f"another process of this run was lost ({told[:200]})")
    return None


def _is_lack_of_memory(error: Exception) -> bool:
    said = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(words in str(error) for words in said)


def _is_loss_of_a_loader(error: Exception) -> bool:
    """torch's words, raised wherever its signal found us, or a pipe that ended while we read it."""
    return any(
        isinstance(each, ConnectionError | EOFError) or _LOST_LOADER.search(str(each))
        for each in with_origins(error)
    )


def _without_workers_traceback(error: PgdError) -> str:
    """A loader's worker hands its error over as text, of which ours is the end."""
    if not error.message.startswith("Caught "):
        return error.message
    return error.message.rpartition(f"{type(error).__name__}: ")[2].strip()


def _join_processes() -> None:
    """Meet the other processes of torchrun; MMEngine's own way needs a GPU."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
