"""CUDA's errors in their own words and classes; there need be no GPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from pgd_core.errors import GpuFault, MachineUnusable, OutOfMemory
from pgd_core.jobs.run import DatasetFiles
from pgd_core.training import process as trainer_process
from pgd_core.training.cuda_faults import cuda_fault
from tests.pgd_core.training.processes import ENVIRONMENT, ROOT, outcome, trainer
from tests.pgd_core.training.runs import train_run

ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nCompile with `TORCH_USE_CUDA_DSA` to enable "
    "device-side assertions.\n"
)
NCCL = (
    "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error, NCCL version 2.27.5\n"
    "ncclUnhandledCudaError: Call to CUDA library failed.\n"
    "Last error:\nCuda failure 214 'uncorrectable ECC error encountered'"
)


def cuda_error(words: str) -> torch.AcceleratorError:
    return torch.AcceleratorError(f"CUDA error: {words}{ADVICE}")


@pytest.mark.parametrize(
    "words",
    [
        "uncorrectable ECC error encountered",
        "no CUDA-capable device is detected",
        "CUDA-capable device(s) is/are busy or unavailable",
        "invalid device ordinal",
        "system not yet initialized",
        "CUDA driver version is insufficient for CUDA runtime version",
        "no kernel image is available for execution on the device",
    ],
)
def test_what_no_job_does_to_a_gpu_is_the_machine_s(words: str) -> None:
    fault = cuda_fault(cuda_error(words))

    assert isinstance(fault, MachineUnusable)
    assert f"(CUDA error: {words});" in fault.message


@pytest.mark.parametrize(
    "words",
    [
        "unspecified launch failure",
        "an illegal memory access was encountered",
        "unknown error",
        "CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`",
    ],
)
def test_what_a_job_may_do_to_a_gpu_is_no_more_than_a_fault(words: str) -> None:
    fault = cuda_fault(cuda_error(words))

    assert isinstance(fault, GpuFault)
    assert f"(CUDA error: {words});" in fault.message


@pytest.mark.parametrize(
    "error",
    [
        cuda_error("device-side assert triggered"),
        cuda_error("invalid configuration argument"),
        RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm`"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        AssertionError("Torch not compiled with CUDA enabled"),
    ],
    ids=str,
)
def test_a_mistake_of_the_program_is_none(error: Exception) -> None:
    assert cuda_fault(error) is None


def test_it_is_known_where_other_code_hands_it_on_and_where_nccl_tells_it() -> None:
    wrapped = SystemError("<method 'run_backward'> returned a result with an exception set")
    wrapped.__cause__ = cuda_error("unspecified launch failure")

    assert isinstance(cuda_fault(wrapped), GpuFault)
    assert isinstance(cuda_fault(torch.distributed.DistBackendError(NCCL)), MachineUnusable)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (cuda_error("uncorrectable ECC error encountered"), MachineUnusable),
        (cuda_error("unspecified launch failure"), GpuFault),
        (cuda_error("out of memory"), OutOfMemory),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), OutOfMemory),
        (cuda_error("device-side assert triggered"), torch.AcceleratorError),
    ],
    ids=lambda value: str(value).splitlines()[0],
)
def test_a_run_ends_with_what_its_error_means(
    error: Exception,
    ours: type[Exception],
    files: DatasetFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(*_: object) -> None:
        raise error

    monkeypatch.setattr(trainer_process, "run_job", breaks)
    with pytest.raises(ours) as raised:
        trainer_process.run_in_process(train_run(files), tmp_path)
    assert raised.type is ours


def test_a_gpu_that_breaks_before_the_processes_have_met_is_known_too(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> None:
        raise cuda_error("invalid device ordinal")

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(trainer_process, "_join_processes", breaks)
    with pytest.raises(MachineUnusable, match="invalid device ordinal"):
        trainer_process.run_in_process(train_run(files), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trainer_that_is_given_a_gpu_and_sees_none_says_that_its_machine_is_at_fault(
    files: DatasetFiles, tmp_path: Path
) -> None:
    run = train_run(files).model_copy(update={"device": "cuda"})
    done = subprocess.run(
        trainer(run, tmp_path), cwd=ROOT, env=ENVIRONMENT, check=False, capture_output=True
    )

    assert done.returncode == 1
    assert outcome(tmp_path)["reason"] == "worker_trouble"
    assert "torch sees none (" in outcome(tmp_path)["message"]
