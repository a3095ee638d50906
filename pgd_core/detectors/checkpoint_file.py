"""What a checkpoint file is, told from its bytes before anything is built from them.

Readers of tensors check what they read, but not what it will cost, nor do they say what to do about
it: a zip may unpack to a thousand times its size, and a header may promise more than there is.
"""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pgd_core.errors import WeightsUnusable

ZIP_MEMBERS = 100_000  # a detector has some hundred tensors
PICKLE_BYTES = 2**28  # the largest `data.pkl`; histories of long trainings take some MiB
HEADER_BYTES = 100_000_000  # safetensors' own bound
MAX_BYTES = 8 * 2**30
WAY_OUT = "send the state dict, saved with safetensors or by torch.save"

_LEGACY_PICKLE = tuple(b"\x80%c" % protocol for protocol in range(2, 6))


class FileKind(StrEnum):
    SAFETENSORS = "safetensors"
    ZIP = "zip"  # torch.save since 1.6
    PICKLE = "pickle"  # torch.save before


def kind_of(path: Path) -> FileKind:
    """What the file is by its content, whatever its name; WeightsUnusable where it cannot be read
    at little cost."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WeightsUnusable(f"{path.name} is no regular file; {WAY_OUT}")
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise WeightsUnusable(f"{path.name} cannot be read: {error.strerror}; {WAY_OUT}") from error
    if status.st_size > MAX_BYTES:
        raise WeightsUnusable(
            f"{path.name} has {status.st_size} bytes, at most {MAX_BYTES} are read; send the state "
            "dict without the optimizer's"
        )
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path, status.st_size)
        return FileKind.ZIP
    if _is_safetensors(path, head):
        _check_safetensors(path, status.st_size)
        return FileKind.SAFETENSORS
    if head.startswith(_LEGACY_PICKLE):
        return FileKind.PICKLE
    raise WeightsUnusable(f"{path.name} is {_looks_like(head)} and no checkpoint; {WAY_OUT}")


def _looks_like(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "a web page, such as a login or an error in place of a download,"
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head.startswith((b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")):
        return "compressed"
    if text.startswith((b"version https://git-lfs", b"{")):
        return "a text, such as a pointer of git-lfs,"
    return f"of an unknown kind (it begins with {head[:8]!r})"


# ── zip ─────────────────────────────────────────────────────────────────────────────────────────


def _check_zip(path: Path, size: int) -> None:
    """torch.save stores members whole, side by side, each once, under one folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise WeightsUnusable(
            f"{path.name} cannot be read: truncated or damaged ({error}); send it again"
        ) from error
    names = [member.filename for member in members]
    for fault, found in (
        (f"has {len(members)} members, over {ZIP_MEMBERS}", len(members) > ZIP_MEMBERS),
        ("names a member twice", len(set(names)) < len(names)),
        ("names a member outside itself", any(map(_climbs, names))),
        ("holds encrypted members", any(member.flag_bits & 1 for member in members)),
        (
            "holds compressed members, as torch.save writes none",
            any(member.compress_type != zipfile.ZIP_STORED for member in members),
        ),
        (
            f"says it holds more than its {size} bytes",
            sum(member.file_size for member in members) > size,
        ),
    ):
        if found:
            raise WeightsUnusable(f"{path.name} is a zip that {fault}; {WAY_OUT}")
    _check_members(path.name, {member.filename: member.file_size for member in members})


def _climbs(name: str) -> bool:
    return name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/")


def _check_members(name: str, sizes: Mapping[str, int]) -> None:
    inner = {key.partition("/")[2]: size for key, size in sizes.items()}
    if "constants.pkl" in inner or any(key.startswith("code/") for key in inner):
        raise WeightsUnusable(
            f"{name} is a TorchScript archive, which is a program; save its state_dict() instead"
        )
    if "data.pkl" not in inner or len({key.partition("/")[0] for key in sizes}) > 1:
        raise WeightsUnusable(f"{name} is a zip, but none of torch.save; {WAY_OUT}")
    if inner["data.pkl"] > PICKLE_BYTES:
        raise WeightsUnusable(
            f"{name} holds {inner['data.pkl']} bytes beside its tensors; {WAY_OUT}"
        )


# ── safetensors ─────────────────────────────────────────────────────────────────────────────────


def _is_safetensors(path: Path, head: bytes) -> bool:
    return head[8:9] == b"{" or (path.suffix == ".safetensors" and len(head) >= 8)


def _check_safetensors(path: Path, size: int) -> None:
    """Whether the header is one object that names each tensor once; the rest its reader checks."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, HEADER_BYTES):
            raise _lies(path, f"is said to have {length} bytes, which the file has not")
        header = file.read(length)
    try:
        entries = json.loads(header.decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise _lies(path, f"cannot be read ({str(error)[:200]})") from error
    if not isinstance(entries, dict):
        raise _lies(path, "is no object")
    covered = 0
    for name, entry in entries.items():
        if name != "__metadata__":
            covered += _span(path, name, entry, size - 8 - length)
    if covered != size - 8 - length:
        raise _lies(path, f"covers {covered} of {size - 8 - length} bytes of tensors")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("it names something twice")
    return entries


def _span(path: Path, name: str, entry: object, available: int) -> int:
    """The bytes of one tensor, from where it begins to where it ends."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (
        isinstance(offsets, list)
        and len(offsets) == 2
        and all(type(offset) is int for offset in offsets)
        and 0 <= offsets[0] <= offsets[1] <= available
    ):
        raise _lies(path, f"places {name[:80]!r} outside the file")
    return int(offsets[1] - offsets[0])


def _lies(path: Path, how: str) -> WeightsUnusable:
    return WeightsUnusable(f"the header of {path.name} {how}; save the weights anew and send them")
