"""Files that claim to be checkpoints, made when a test asks for one; none is ever loaded unsafely.

Each writer takes (path, canary): what would run touches the canary, a file that must not come to
be. `CASES` names each with what its refusal has to say.
"""

from __future__ import annotations

import builtins
import gzip
import importlib
import io
import json
import os
import pickle
import socket
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

Writer = Callable[[Path, Path], object]


@dataclass(frozen=True)
class Case:
    """One hostile file."""

    write: Writer
    says: str  # a pattern that the refusal matches
    confined: bool = False  # safe to be read only within a process's limits


class Reduced:
    """Pickles as a call of `function` with `arguments`, and then any state."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def saved(wrap: Callable[[Path], Any], **options: Any) -> Writer:
    """By torch.save, as people send them."""
    return lambda path, canary: torch.save(wrap(canary), path, **options)


def made(content: Callable[[Path], bytes]) -> Writer:
    """The pickle as the object of a file of torch.save's old format."""
    return lambda path, canary: path.write_bytes(_old(content(canary)))


def of_bytes(content: Callable[[], bytes]) -> Writer:
    return lambda path, _: path.write_bytes(content())


def in_state_dict(thing: Any) -> dict[str, Any]:
    return {"state_dict": {"backbone.conv1.weight": thing}}


# ── pickles that run code ───────────────────────────────────────────────────────────────────────


def _touch(canary: Path) -> str:
    return f"touch {canary}"


def _nested(canary: Path) -> Any:
    """The call stands in the arguments of a harmless one, deep inside."""
    inner: Any = Reduced(os.system, _touch(canary))
    for _ in range(20):
        inner = Reduced(tuple, [inner])
    return {"meta": {"hook_msgs": [inner]}, **in_state_dict(torch.ones(1))}


def _by_torch_load(canary: Path) -> Any:
    """Asks torch itself to unpickle the rest, without its guard."""
    inner = io.BytesIO(pickle.dumps(Reduced(os.system, _touch(canary))))
    return Reduced(torch.load, Reduced(io.BytesIO, inner.getvalue()), "cpu")


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _by_allowed_getattr(canary: Path) -> bytes:
    """getattr(os, "system")(…): the allow-list knows `getattr`, for a HistoryBuffer's methods."""
    system = _global("builtins", "getattr") + _global("os", "path") + _text("os") + b"\x86R"
    return b"\x80\x02" + system + _text(_touch(canary)) + b"\x85R."


def _dunder_of_an_allowed_class(canary: Path) -> bytes:
    """getattr(HistoryBuffer, "__init__")(…), whose __globals__ would be next."""
    buffer = _global("mmengine.logging.history_buffer", "HistoryBuffer")
    method = _global("builtins", "getattr") + buffer + _text("__init__") + b"\x86R"
    return b"\x80\x02" + method + _text(_touch(canary)) + b"\x85R."


def _state_of_an_allowed_class(canary: Path) -> Any:
    """Puts a call into the state that BUILD gives to an allowed object."""
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer([1.0], [1])
    buffer._statistics_methods = {"mean": Reduced(os.system, _touch(canary))}
    return {"message_hub": buffer, **in_state_dict(torch.ones(1))}


def _objects_of_numpy(canary: Path) -> Any:
    """An array of objects is a pickle within the pickle."""
    array = np.empty(1, object)
    array[0] = Reduced(os.system, _touch(canary))
    return {"meta": array, **in_state_dict(torch.ones(1))}


def _rebuilt_tensor(canary: Path) -> Any:
    """A tensor's own rebuild hook, given another function."""
    return in_state_dict(
        Reduced(torch._tensor._rebuild_from_type_v2, os.system, str, (_touch(canary),), {})
    )


_SOURCE = "import pathlib; pathlib.Path({!r}).touch()"


def _code(canary: Path) -> str:
    return _SOURCE.format(str(canary))


_OS = os.system.__module__  # "posix"


def _stop_then_more(canary: Path) -> bytes:
    """A good object, and behind its STOP the call."""
    return pickle.dumps({"a": 1.5}, 2) + pickle.dumps(Reduced(os.system, _touch(canary)), 2)


def _protocol_games(canary: Path) -> bytes:
    """PROTO again and again, one of a protocol that does not exist."""
    body = pickle.dumps(Reduced(os.system, _touch(canary)), 2)[2:]
    return b"\x80\x02" + b"\x80\x03" * 5 + b"\x80\xff" + body


def _by_name_on_the_stack(canary: Path) -> bytes:
    """STACK_GLOBAL of protocol 4: no name stands where a scan looks for it."""
    return pickle.dumps(Reduced(os.system, _touch(canary)), 4)


def _by_inst(canary: Path) -> bytes:
    """INST, of protocol 0."""
    return b"\x80\x02(S'" + _touch(canary).encode() + b"'\ni" + _OS.encode() + b"\nsystem\n."


def _by_extension_code(_: Path) -> bytes:
    """EXT1, which asks copyreg's registry."""
    return b"\x80\x02\x82\x01."


RUNS_CODE: dict[str, Case] = {
    "os.system": Case(saved(lambda c: Reduced(os.system, _touch(c))), "holds more than tensors"),
    "os.system in the state dict": Case(
        saved(lambda c: in_state_dict(Reduced(os.system, _touch(c)))), "holds more than tensors"
    ),
    "os.system in an old file": Case(
        saved(
            lambda c: in_state_dict(Reduced(os.system, _touch(c))),
            _use_new_zipfile_serialization=False,
        ),
        "holds more than tensors",
    ),
    "builtins.eval": Case(
        saved(lambda c: Reduced(eval, f"__import__('pathlib').Path({str(c)!r}).touch()")),
        "holds more than tensors",
    ),
    "builtins.exec": Case(saved(lambda c: Reduced(exec, _code(c))), "holds more than tensors"),
    "builtins.__import__": Case(
        saved(lambda _: Reduced(builtins.__import__, "antigravity")), "holds more than tensors"
    ),
    "subprocess": Case(
        saved(lambda c: Reduced(subprocess.run, ["touch", str(c)])), "holds more than tensors"
    ),
    "importlib": Case(
        saved(lambda _: Reduced(importlib.import_module, "this")), "holds more than tensors"
    ),
    "a nested call": Case(saved(_nested), "holds more than tensors"),
    "torch.load within": Case(saved(_by_torch_load), "holds more than tensors"),
    "torch.hub": Case(
        saved(lambda _: Reduced(torch.hub.load, "owner/repository", "model")),
        "holds more than tensors",
    ),
    "the allowed getattr": Case(made(_by_allowed_getattr), "asks for|holds more than tensors"),
    "getattr of an allowed class": Case(made(_dunder_of_an_allowed_class), "asks for '__init__'"),
    "the state of an allowed class": Case(
        saved(_state_of_an_allowed_class), "holds more than tensors"
    ),
    "an array of objects": Case(saved(_objects_of_numpy), "holds more than tensors"),
    "a tensor's rebuild hook": Case(saved(_rebuilt_tensor), "holds more than tensors"),
    "writing a file": Case(saved(lambda c: Reduced(open, str(c), "w")), "holds more than tensors"),
    "Path.write_text": Case(
        saved(lambda c: Reduced(Path.write_text, c, "x")), "holds more than tensors"
    ),
    "a socket": Case(
        saved(lambda _: Reduced(socket.create_connection, ("127.0.0.1", 9))),
        "holds more than tensors",
    ),
    "a second pickle behind the first": Case(made(_stop_then_more), "holds more than tensors"),
    "games with PROTO": Case(made(_protocol_games), "holds more than tensors"),
    "STACK_GLOBAL": Case(
        made(_by_name_on_the_stack),
        "holds more than tensors",
    ),
    "INST": Case(made(_by_inst), "holds more than tensors"),
    "EXT1": Case(
        made(_by_extension_code),
        "holds more than tensors",
    ),
    "a whole module": Case(saved(lambda _: nn.Linear(2, 2)), "holds more than tensors"),
}


# ── sizes that lie, bombs ───────────────────────────────────────────────────────────────────────


def _a_thousand_billion_times_one_number(_: Path) -> Any:
    return in_state_dict(torch.ones(1).expand(10**12))


def _sparse(_: Path) -> Any:
    index = torch.zeros(2, 1, dtype=torch.long)
    return in_state_dict(torch.sparse_coo_tensor(index, torch.ones(1), (10**6, 10**6)))


def _numpy_of_many(_: Path) -> Any:
    return {
        "meta": Reduced(np._core.multiarray._reconstruct, np.ndarray, (10**14,), b"d"),  # type: ignore[attr-defined]
        **in_state_dict(torch.ones(1)),
    }


def _view_beyond_its_storage(path: Path, _: Path) -> None:
    """The pickle of a tensor of 2 numbers, edited to say 2³⁰."""
    buffer = io.BytesIO()
    torch.save(in_state_dict(torch.ones(2)), buffer)
    edited = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(edited, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith("data.pkl"):
                assert content.count(b"K\x02\x85") == 1  # the shape (2,)
                content = content.replace(b"K\x02\x85", b"J\x00\x00\x00\x40\x85")
            target.writestr(member.filename, content)
    path.write_bytes(edited.getvalue())


def _old_storage_of_many(path: Path, _: Path) -> None:
    """The old format states each storage's size: 10¹³ numbers here, without one of them."""
    buffer = io.BytesIO()
    torch.save(in_state_dict(torch.ones(777)), buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    assert content.count(b"M\x09\x03") >= 2  # 777, of the storage and of the view
    path.write_bytes(content.replace(b"M\x09\x03", b"\x8a\x06" + (10**13).to_bytes(6, "little")))


def _hash_of_nested_tuples() -> bytes:
    """Keys of a dictionary of up to 60 levels, each the last one twice: 2⁶⁰ steps to hash it."""
    levels = b"".join(b"h%ch%c\x86q%c" % (level, level, level + 1) for level in range(60))
    return b"\x80\x02}(K\x01q\x00" + levels + b"K\x01u."


def _old(content: bytes) -> bytes:
    """The pickle as the object of a file of torch.save's old format."""
    buffer = io.BytesIO()
    torch.save(None, buffer, _use_new_zipfile_serialization=False)
    head, _, tail = buffer.getvalue().partition(pickle.dumps(None, 2))
    return head + content + tail


def _long_list() -> bytes:
    return _old(b"\x80\x02](" + b"K\x01" * 2**20 + b"e.")


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


_PICKLE = pickle.dumps({"state_dict": {}}, 2)


def _bomb() -> bytes:
    return _zip({"a/data.pkl": _PICKLE, "a/data/0": bytes(2**26)}, zipfile.ZIP_DEFLATED)


def _nested_bomb() -> bytes:
    return _zip({"a/data.pkl": _bomb(), "a/data/0": _bomb()}, zipfile.ZIP_DEFLATED)


def _twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", _PICKLE)
        archive.fp.write(b"")  # type: ignore[union-attr]
        archive.NameToInfo.clear()
        archive.writestr("a/data.pkl", _PICKLE)
    return buffer.getvalue()


def _encrypted() -> bytes:
    content = bytearray(_zip({"a/data.pkl": _PICKLE}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def _zip64_lie() -> bytes:
    """The directory says 2⁶³ - 1 bytes of a member that has 20."""
    content = bytearray(_zip({"a/data.pkl": _PICKLE, "a/data/0": bytes(20)}))
    entry = content.rindex(b"PK\x01\x02")
    extra = struct.pack("<HHQQ", 1, 16, 2**63 - 1, 2**63 - 1)
    content[entry + 20 : entry + 28] = b"\xff" * 8
    content[entry + 30 : entry + 32] = struct.pack("<H", len(extra))
    end = entry + 46 + len("a/data/0")
    content[end:end] = extra
    eocd = content.rindex(b"PK\x05\x06")
    size = struct.unpack_from("<I", content, eocd + 12)[0]
    struct.pack_into("<I", content, eocd + 12, size + len(extra))
    return bytes(content)


def _torchscript(path: Path, _: Path) -> None:
    path.write_bytes(
        _zip(
            {
                "m/data.pkl": _PICKLE,
                "m/constants.pkl": _PICKLE,
                "m/code/__torch__.py": b"class M(Module): pass",
                "m/version": b"3\n",
            }
        )
    )


def _old_tar(path: Path, _: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(_PICKLE)
            archive.addfile(member, io.BytesIO(_PICKLE))


def _half_a_zip() -> bytes:
    content = _zip({"a/data.pkl": _PICKLE, "a/data/0": bytes(1000)})
    return content[: len(content) // 2]


def _zip_of(name: str) -> Case:
    return Case(
        of_bytes(lambda: _zip({"a/data.pkl": _PICKLE, name: b"x"})), "a member outside itself"
    )


def _absolute_member(path: Path, canary: Path) -> None:
    path.write_bytes(_zip({"a/data.pkl": _PICKLE, str(canary): b"x"}))


SIZES_LIE: dict[str, Case] = {
    "a view that shows one number 10¹² times": Case(
        saved(_a_thousand_billion_times_one_number), "unfold to"
    ),
    "a sparse tensor of 10¹²": Case(saved(_sparse), "sparse"),
    "an empty-backed tensor": Case(
        saved(lambda _: in_state_dict(torch.empty(10**12, device="meta"))), "without content"
    ),
    "an array of 10¹⁴": Case(saved(_numpy_of_many), "more memory"),
    "a view beyond its storage": Case(_view_beyond_its_storage, "cannot be read"),
    "an old storage of 10¹³": Case(_old_storage_of_many, "more memory"),
    "a long list": Case(of_bytes(_long_list), "no state dict"),
    "a key that never ends to be hashed": Case(
        of_bytes(lambda: _old(_hash_of_nested_tuples())),
        "at a limit of time or memory",
        confined=True,
    ),
    "a bomb": Case(of_bytes(_bomb), "holds compressed members"),
    "a bomb in a bomb": Case(of_bytes(_nested_bomb), "holds compressed members"),
    "traversal": _zip_of("../../canary"),
    "an absolute member": Case(_absolute_member, "a member outside itself"),
    "a backslash": _zip_of("a\\..\\..\\canary"),
    "a member twice": Case(of_bytes(_twice), "names a member twice"),
    "encrypted": Case(of_bytes(_encrypted), "encrypted"),
    "a lie of zip64": Case(of_bytes(_zip64_lie), "more than its|truncated or damaged"),
    "half a zip": Case(of_bytes(_half_a_zip), "truncated or damaged"),
    "a zip of pictures": Case(of_bytes(lambda: _zip({"a.jpg": b"x"})), "none of torch.save"),
    "TorchScript": Case(_torchscript, "TorchScript"),
    "the tar of torch 0.1": Case(_old_tar, "tar archive"),
    "gzip": Case(of_bytes(lambda: gzip.compress(_zip({"a": b"x"}))), "is compressed"),
    "HTML": Case(of_bytes(lambda: b"<!DOCTYPE html><title>Sign in</title>"), "web page"),
    "a pointer of git-lfs": Case(
        of_bytes(lambda: b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs"
    ),
    "empty": Case(of_bytes(bytes), "is empty"),
    "noise": Case(of_bytes(lambda: bytes(range(256)) * 8), "unknown kind"),
}


# ── safetensors that lie ────────────────────────────────────────────────────────────────────────


def _safetensors(header: object, data: bytes = bytes(8), length: int | None = None) -> Case:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    return Case(of_bytes(lambda: size.to_bytes(8, "little") + text + data), "the header of|cannot")


def _f32(begin: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> Any:
    return {"dtype": dtype, "shape": [2] if shape is None else shape, "data_offsets": [begin, end]}


HEADERS_LIE: dict[str, Case] = {
    "a header of 2⁶⁰ bytes": _safetensors({"a": _f32(0, 8)}, length=2**60),
    "a header longer than the file": _safetensors({"a": _f32(0, 8)}, length=10_000),
    "a header that is cut": _safetensors({"a": _f32(0, 8)}, length=20),
    "overlapping tensors": _safetensors({"a": _f32(0, 8), "b": _f32(0, 8)}),
    "offsets beyond the file": _safetensors({"a": _f32(0, 2**40, [2**38])}),
    "offsets that run backwards": _safetensors({"a": _f32(8, 0)}),
    "negative offsets": _safetensors({"a": _f32(-8, 0)}),
    "offsets of text": _safetensors({"a": {**_f32(0, 8), "data_offsets": ["0", "8"]}}),
    "a gap": _safetensors({"a": _f32(8, 16)}, bytes(16)),
    "bytes behind": _safetensors({"a": _f32(0, 8)}, bytes(16)),
    "another type than the bytes": _safetensors({"a": _f32(0, 8, [2], "F64")}),
    "an unknown type": _safetensors({"a": _f32(0, 8, [2], "PICKLE")}),
    "a negative shape": _safetensors({"a": _f32(0, 8, [-1, -2])}),
    "a shape that overflows": _safetensors({"a": _f32(0, 8, [2**62, 4])}),
    "a name twice": _safetensors(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    ),
    "no UTF-8": _safetensors(b'{"\xff\xfe":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "a list for a header": _safetensors(b"{" + b'"a":' * 3 + b"[]}"),
    "a thousand brackets": _safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


# ── no file at all ──────────────────────────────────────────────────────────────────────────────


def _link(path: Path, _: Path) -> None:
    target = path.with_name("linked")
    torch.save(in_state_dict(torch.ones(1)), target)
    path.symlink_to(target)


NO_FILES: dict[str, Case] = {
    "a link": Case(_link, "is a link"),
    "a link to a device": Case(lambda path, _: path.symlink_to("/dev/zero"), "is a link"),
    "a link to nowhere": Case(lambda path, _: path.symlink_to("nowhere"), "is a link"),
    "a pipe": Case(lambda path, _: os.mkfifo(path), "no regular file"),
    "a folder": Case(lambda path, _: path.mkdir(), "no regular file"),
    "nothing": Case(lambda *_: None, "cannot be read"),
}

CASES: dict[str, Case] = {**RUNS_CODE, **SIZES_LIE, **HEADERS_LIE, **NO_FILES}
