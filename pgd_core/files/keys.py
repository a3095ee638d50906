"""What may be a key of the file store: the same for every kind of store."""

from __future__ import annotations

import re

from pgd_core.errors import Forbidden

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")


def is_part(name: str) -> bool:
    """Whether it may stand between two slashes of a key."""
    return _PART.fullmatch(name) is not None


def checked_key(key: str) -> str:
    """The key; Forbidden where it could name anything but a file of the store."""
    if not all(is_part(part) for part in key.split("/")):
        raise Forbidden(
            f"{key!r} is no key of a file: parts of letters, digits, '.', '_' and '-', none "
            "beginning with '.', joined by '/'"
        )
    return key
