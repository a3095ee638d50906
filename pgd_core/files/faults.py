"""Errors that speak of a machine's disk or file server, and not of what was read or written."""

from __future__ import annotations

import errno

from pgd_core.errors import MachineUnusable, with_origins

_NUMBERS = (
    errno.EIO,
    errno.EROFS,  # as Linux leaves a disk that broke
    errno.ENODEV,
    errno.ENXIO,
    errno.ESTALE,
    errno.EREMOTEIO,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
)


def is_storage_fault(error: BaseException) -> bool:
    """Whether the error, or one that it arose from, says that a disk or a file server fails."""
    return any(isinstance(each, OSError) and each.errno in _NUMBERS for each in with_origins(error))


def storage_fault(what: str, error: BaseException) -> MachineUnusable:
    """The same in words for people."""
    return MachineUnusable(
        f"{what} cannot be read or written ({type(error).__name__}: {error}): a disk or a file "
        "server of this machine is in trouble; look at its kernel's log"
    )
