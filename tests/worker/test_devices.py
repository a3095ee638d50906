"""Over a small NVML of our own: the real one starts only where there is an NVIDIA driver."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml
import pytest

from pgd_core.jobs.machine import Device
from worker import devices
from worker.devices import NoGpu, environment_of, find_devices, strangers, versions

GIB = 2**30
MIB = 2**20


@dataclass
class Gpu:
    """A GPU or a MIG instance."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    total: int = 80 * GIB
    used: int = 4 * MIB
    reserved: int = 600 * MIB
    compute: list[SimpleNamespace] = field(default_factory=list)
    graphics: list[SimpleNamespace] = field(default_factory=list)
    instances: list[Gpu | None] | None = None  # None: cannot be divided
    lost: bool = False


class FakeNvml:
    """The functions of pynvml that are used, with its own errors and constants."""

    def __init__(self, *gpus: Gpu, old: bool = False) -> None:
        self.gpus, self.old, self.started = gpus, old, 0

    def __getattr__(self, name: str) -> object:
        assert name.startswith(("NVML", "nvmlMemory")), f"{name} is not faked"
        return getattr(pynvml, name)

    def nvmlInit(self):  # noqa: N802
        self.started += 1

    def nvmlShutdown(self):  # noqa: N802
        self.started -= 1

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "570.1"

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        parts = [part for gpu in self.gpus for part in (gpu, *(gpu.instances or ()))]
        return next(part for part in parts if part and part.uuid == uuid)

    def nvmlDeviceGetName(self, gpu):  # noqa: N802
        return gpu.name

    def nvmlDeviceGetUUID(self, gpu):  # noqa: N802
        return gpu.uuid

    def nvmlDeviceGetMemoryInfo(self, gpu, version=None):  # noqa: N802
        if version and self.old:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return SimpleNamespace(total=gpu.total, used=gpu.used + (0 if version else gpu.reserved))

    def nvmlDeviceGetMigMode(self, gpu):  # noqa: N802
        if gpu.instances is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(bool(gpu.instances)), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu):  # noqa: N802
        return len(gpu.instances)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu, index):  # noqa: N802
        if gpu.instances[index] is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return gpu.instances[index]

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):  # noqa: N802
        if gpu.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return gpu.compute

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu):  # noqa: N802
        if gpu.uuid.startswith("MIG-"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu.graphics


@pytest.fixture
def machine(monkeypatch):
    """Gives this machine some GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def with_gpus(*gpus: Gpu, old: bool = False) -> FakeNvml:
        nvml = FakeNvml(*gpus, old=old)
        monkeypatch.setattr(devices, "pynvml", nvml)
        return nvml

    return with_gpus


def process(pid, memory=10 * GIB):
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


def uuids(found):
    return [device.uuid for device in found]


def test_every_gpu_is_a_slot_with_its_name_and_memory(machine):
    nvml = machine(Gpu("GPU-a"), Gpu("GPU-b", "NVIDIA L4", 24 * GIB))

    assert find_devices("auto", 5) == (
        Device(0, "NVIDIA H100 80GB HBM3", "GPU-a", 80 * 1024),
        Device(1, "NVIDIA L4", "GPU-b", 24 * 1024),
    )
    assert nvml.started == 0


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("1,0", ["GPU-b1", "GPU-a1"]),
        ("1, 1", ["GPU-b1"]),
        ("GPU-b1,GPU-a1", ["GPU-b1", "GPU-a1"]),
        ("GPU-b", ["GPU-b1"]),
        ("0,7,1", ["GPU-a1"]),
        ("GPU-", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("", []),
    ],
)
def test_gpus_are_those_that_cuda_would_see(machine, monkeypatch, visible, found):
    machine(Gpu("GPU-a1"), Gpu("GPU-b1"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    if found:
        assert uuids(find_devices("cuda", None)) == found
    else:
        assert uuids(find_devices("auto", None)) == [""]
        with pytest.raises(NoGpu, match=r"CUDA_VISIBLE_DEVICES='.*' names no GPU"):
            find_devices("cuda", None)


def test_a_divided_gpu_stands_for_its_instances(machine, monkeypatch):
    parts = [Gpu("MIG-1", "H100 MIG 1g.10gb", 10 * GIB), None, Gpu("MIG-2")]
    machine(Gpu("GPU-a", instances=parts), Gpu("GPU-b", instances=[]))

    assert uuids(find_devices("auto", None)) == ["MIG-1", "MIG-2", "GPU-b"]
    assert find_devices("auto", None)[0].memory_mb == 10 * 1024
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2")
    assert uuids(find_devices("auto", None)) == ["MIG-2"]


def test_a_worker_of_the_processor_does_not_look_for_gpus(machine, monkeypatch):
    nvml = machine(Gpu("GPU-a"))
    monkeypatch.setattr(nvml, "nvmlInit", None, raising=False)

    first, second = find_devices("cpu", 2)

    assert (first.slot, first.name, first.uuid) == (0, "CPU slot", "")
    assert second.slot == 1
    assert 0 < second.memory_mb == first.memory_mb


def test_without_the_drivers_library_a_worker_has_processor_slots():
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        pass
    else:
        pynvml.nvmlShutdown()
        pytest.skip("this machine has NVML")

    assert uuids(find_devices("auto", 3)) == ["", "", ""]
    assert strangers(find_devices("auto", None), ()) == {}
    assert "driver" not in versions()
    with pytest.raises(NoGpu, match="Library Not Found; set PGD_DEVICE to auto or cpu"):
        find_devices("cuda", None)


def test_a_trainer_sees_its_gpus_alone(machine):
    machine(Gpu("GPU-a"), Gpu("GPU-b"), Gpu("GPU-c"))

    assert environment_of(find_devices("auto", None)[1:]) == {"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-c"}


def test_processor_slots_share_the_cores_unless_the_operator_has_said_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    found = find_devices("cpu", 3)

    assert environment_of(found[:1], 3) == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    assert environment_of(found[:2], 3)["OMP_NUM_THREADS"] == "5"
    assert environment_of(found[:1], 30)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert environment_of(found[:1], 3) == {"CUDA_VISIBLE_DEVICES": ""}


def test_an_idle_gpu_and_one_of_ours_have_no_stranger(machine):
    ours = Gpu("GPU-b", used=11 * GIB, compute=[process(7)])
    machine(Gpu("GPU-a"), ours)

    assert strangers(find_devices("auto", None), {7}) == {}


def test_a_process_that_is_none_of_ours_is_named(machine):
    busy = Gpu("GPU-b", compute=[process(7), process(os.getpid()), process(2**22 + 1)])
    machine(Gpu("GPU-a"), busy)

    [(slot, sentence)] = strangers(find_devices("auto", None), {7}).items()

    assert slot == 1
    assert "GPU 1 (NVIDIA H100 80GB HBM3, GPU-b) is used by" in sentence
    assert f"process {os.getpid()} (" in sentence
    assert f"process {2**22 + 1} of another container" in sentence
    assert "process 7 " not in sentence


@pytest.mark.parametrize("old", [False, True])
def test_memory_that_nobody_here_holds_is_a_strangers(machine, old):
    machine(Gpu("GPU-a"), Gpu("GPU-b", used=10 * GIB), old=old)

    [(slot, sentence)] = strangers(find_devices("auto", None), ()).items()

    assert slot == 1
    assert "held by a process that cannot be seen from here" in sentence


def test_a_display_is_no_stranger(machine):
    machine(Gpu("GPU-a", used=GIB, graphics=[process(1, GIB - MIB), process(2, None)]))

    assert strangers(find_devices("auto", None), ()) == {}


def test_memory_of_a_mig_instance_tells_though_it_cannot_draw(machine):
    machine(Gpu("GPU-a", instances=[Gpu("MIG-1"), Gpu("MIG-2", used=GIB)]))

    assert list(strangers(find_devices("auto", None), ())) == [1]


def test_a_gpu_that_fell_off_the_bus_is_not_used(machine):
    lost = Gpu("GPU-a")
    machine(lost, Gpu("GPU-b"))
    found = find_devices("auto", None)
    lost.lost = True

    [(slot, sentence)] = strangers(found, ()).items()

    assert slot == 0
    assert "NVML cannot look into GPU 0" in sentence
    assert "GPU is lost" in sentence


def test_a_driver_that_stopped_working_condemns_every_gpu(machine, monkeypatch):
    nvml = machine(Gpu("GPU-a"), Gpu("GPU-b"))
    found = find_devices("auto", None)

    def mismatch():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(nvml, "nvmlInit", mismatch, raising=False)

    assert list(strangers(found, ())) == [0, 1]


def test_versions_name_what_decides_a_result(machine):
    machine(Gpu("GPU-a"))

    found = versions()

    assert list(found) == ["python", "pgd", "torch", "mmdet", "driver"]
    assert all(found.values())
