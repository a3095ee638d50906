from __future__ import annotations

import errno

import pytest

from pgd_core.errors import MachineUnusable
from pgd_core.files.faults import is_storage_fault, storage_fault
from tests.pgd_core.files.test_full_disk import raised


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT])
def test_a_failing_disk_or_file_server_is_known_by_its_number_however_deep(number):
    fault = OSError(number, "it fails")
    assert is_storage_fault(fault)
    assert is_storage_fault(raised(ValueError("no picture"), fault))


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "no"), OSError(errno.ENOSPC, "full"), ValueError("errno 5")],
)
def test_other_errors_are_no_fault_of_the_storage(error):
    assert not is_storage_fault(raised(error))


def test_the_message_names_the_file_and_the_error():
    told = storage_fault("picture /a.jpg", OSError(errno.EIO, "Input/output error"))

    assert isinstance(told, MachineUnusable)
    assert "picture /a.jpg cannot be read" in told.message
    assert "Input/output error" in told.message
