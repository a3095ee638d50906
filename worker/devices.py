"""The slots of this machine: its GPUs through NVML, or shares of its processor.

NVML is asked anew each time, so that a GPU that falls off the bus is noticed; where its library is
missing or broken a worker has CPU slots.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import psutil
import pynvml
import structlog

from pgd_core.errors import PgdError
from pgd_core.jobs.machine import Device

CPU_SLOT = "CPU slot"
VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"

_MIB = 2**20
# What an idle GPU may hold for its driver; processes of other containers show up only as more.
_IDLE_MIB = 256
_IDLE_WITH_RESERVED_MIB = 1024  # where the driver is too old to tell its own reserve apart

log = structlog.get_logger()


class NoGpu(PgdError):
    """GPUs are asked for, and none can be used."""

    code = "no_gpu"


def find_devices(
    device: Literal["auto", "cpu", "cuda"],
    slots: int | None,  # of the processor, 1 if None; GPUs are a slot each
) -> tuple[Device, ...]:
    """The slots of this worker: of `auto` the GPUs, if there are any.

    GPUs are those that CUDA_VISIBLE_DEVICES names, or all; its numbers count in NVML's order,
    which is that of the PCI bus. A GPU that is divided stands for its MIG instances. NoGpu when
    `device` is `cuda` and there is none.
    """
    if device != "cpu":
        gpus, why_none = _find_gpus()
        if gpus:
            return gpus
        if device == "cuda":
            raise NoGpu(f"{why_none}; set PGD_DEVICE to auto or cpu to work without a GPU")
        log.info("no_gpu", message=why_none)
    count = slots or 1
    share_mb = psutil.virtual_memory().total // count // _MIB
    return tuple(Device(slot, CPU_SLOT, "", share_mb) for slot in range(count))


def environment_of(
    devices: Sequence[Device],  # of one trainer; all GPUs or all CPU slots
    slots: int = 1,  # that the worker has in all: they share the cores
) -> dict[str, str]:
    """Environment variables that keep a trainer to its devices."""
    uuids = [device.uuid for device in devices if device.uuid]
    environment = {VISIBLE: ",".join(uuids)}
    if not uuids and THREADS not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        environment[THREADS] = str(max(1, (cores or 1) * len(devices) // slots))
    return environment


def strangers(
    devices: Sequence[Device],
    ours: Collection[int],  # ids of processes that may hold memory there
) -> dict[int, str]:
    """By slot, a sentence for each GPU that cannot be used now: another's memory, or a fault."""
    gpus = [device for device in devices if device.uuid]
    if not gpus:
        return {}
    try:
        with _nvml():
            sentences = {gpu.slot: _stranger(gpu, ours) for gpu in gpus}
    except pynvml.NVMLError as error:  # the driver itself does not answer
        sentences = {gpu.slot: _blind(gpu, error) for gpu in gpus}
    return {slot: sentence for slot, sentence in sentences.items() if sentence}


def versions() -> dict[str, str]:
    """Of what decides a run's results; torch is not imported, what is not there is left out."""
    found = {"python": platform.python_version()}
    for package in ("pgd", "torch", "mmdet"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    with contextlib.suppress(pynvml.NVMLError), _nvml():
        found["driver"] = pynvml.nvmlSystemGetDriverVersion()
    return found


@contextlib.contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _find_gpus() -> tuple[tuple[Device, ...], str]:
    """The GPUs, and why there are none."""
    visible = os.environ.get(VISIBLE)
    try:
        with _nvml():
            handles = _visible_handles(visible)
            described = [_describe(handle) for handle in handles]
    except pynvml.NVMLError as error:
        return (), f"NVML finds no GPU: {error}"
    gpus = dict.fromkeys(described)  # one that is named twice is still one slot
    why_none = "NVML finds no GPU"
    if visible is not None:
        why_none = f"{VISIBLE}={visible!r} names no GPU of this machine"
    return tuple(Device(slot, *gpu) for slot, gpu in enumerate(gpus)), why_none


def _describe(handle: Any) -> tuple[str, str, int]:
    memory_mb = pynvml.nvmlDeviceGetMemoryInfo(handle).total // _MIB
    return pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle), memory_mb


def _visible_handles(visible: str | None) -> list[Any]:
    """As CUDA reads the variable: what follows a name that it does not know is not seen."""
    whole = [
        pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
    ]
    if visible is None:
        return [part for gpu in whole for part in _parts(gpu)]
    found: list[Any] = []
    for name in (part.strip() for part in visible.split(",") if visible.strip()):
        named = _named(name, whole)
        if not named:
            log.warning("unknown_gpu", name=name, variable=VISIBLE)
            break
        found += named
    return found


def _named(name: str, whole: list[Any]) -> list[Any]:
    if name.isdecimal():
        return _parts(whole[int(name)]) if int(name) < len(whole) else []
    if name.startswith("MIG-"):
        candidates = [part for gpu in whole for part in _parts(gpu)]
        return [part for part in candidates if pynvml.nvmlDeviceGetUUID(part) == name]
    # CUDA takes the beginning of an id where only one GPU has it.
    begun = [gpu for gpu in whole if pynvml.nvmlDeviceGetUUID(gpu).startswith(name)]
    return _parts(begun[0]) if name.startswith("GPU-") and len(begun) == 1 else []


def _parts(gpu: Any) -> list[Any]:
    """The MIG instances of a GPU that is divided, else the GPU."""
    try:
        divided = pynvml.nvmlDeviceGetMigMode(gpu)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError_NotSupported:
        divided = False
    if not divided:
        return [gpu]
    parts = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        with contextlib.suppress(pynvml.NVMLError_NotFound):  # a place that no instance takes
            parts.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return parts


def _stranger(gpu: Device, ours: Collection[int]) -> str:
    try:
        return _user(gpu, ours)
    except pynvml.NVMLError as error:
        return _blind(gpu, error)


def _user(gpu: Device, ours: Collection[int]) -> str:
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    running = _processes(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    others = sorted(process.pid for process in running if process.pid not in ours)
    if others:
        which = ", ".join(_process(pid) for pid in others)
        return f"{_called(gpu)} is used by {which}, which this worker did not start"
    if running:  # ours alone: how much of the memory is theirs cannot be told in every container
        return ""
    used_mb, idle_mb = _used(handle)
    # A display's memory is nobody's training.
    drawing = _processes(pynvml.nvmlDeviceGetGraphicsRunningProcesses, handle)
    used_mb -= sum(process.usedGpuMemory or 0 for process in drawing) // _MIB
    if used_mb <= idle_mb:
        return ""
    return f"{used_mb} MiB of {_called(gpu)} are held by a process that cannot be seen from here"


def _processes(find: Callable[[Any], list[Any]], handle: Any) -> list[Any]:
    try:
        return find(handle)
    except pynvml.NVMLError_NotSupported:  # a MIG instance draws nothing; its memory tells enough
        return []


def _used(handle: Any) -> tuple[int, int]:
    """MiB that are used, and how much of that an idle GPU uses."""
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        return memory.used // _MIB, _IDLE_MIB
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported):
        return pynvml.nvmlDeviceGetMemoryInfo(handle).used // _MIB, _IDLE_WITH_RESERVED_MIB


def _process(pid: int) -> str:
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid} of another container"


def _blind(gpu: Device, error: Exception) -> str:
    return f"NVML cannot look into {_called(gpu)}: {error}"


def _called(gpu: Device) -> str:
    return f"GPU {gpu.slot} ({gpu.name}, {gpu.uuid})"
