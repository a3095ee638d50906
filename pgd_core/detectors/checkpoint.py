"""A checkpoint from anywhere, read without executing code."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pgd_core.detectors.checkpoint_file import WAY_OUT, FileKind, kind_of
from pgd_core.detectors.weights import Weights, some
from pgd_core.errors import WeightsUnusable

MAX_CLASSES = 10_000
DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.int32}
MAX_CONFIG = 2**20  # characters
_OF_READERS = (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, MemoryError)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, and what MMDetection wrote beside them."""

    weights: Weights
    classes: tuple[str, ...] = ()  # empty where the file does not say
    config: str = ""  # MMDetection's, as text; to be parsed, never executed


def read_weights(path: Path) -> Weights:
    """The tensors of a safetensors file or of a PyTorch checkpoint, MMEngine's included.

    Raises WeightsUnusable for a file that is truncated, is neither, or would execute code.
    """
    return read_checkpoint(path).weights


def read_checkpoint(path: Path) -> Checkpoint:
    """As `read_weights`, with the meta data.

    A checkpoint is unpickled with `weights_only` and nothing else; only its state dict is taken.
    """
    kind = kind_of(path)
    try:
        if kind is FileKind.SAFETENSORS:
            return Checkpoint(_sound(load_file(path), path))
        with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd protocols and shapes are no fault by themselves
            content = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsUnusable:
        raise
    except _OF_READERS as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # the unpickler's own class is private
        raise WeightsUnusable(
            f"{path.name} holds more than tensors and was not loaded ({_cause(error)}); {WAY_OUT}"
        ) from error
    weights = _sound(_state_dict(content, path.name), path)
    return Checkpoint(weights, *_meta(content))


def _unreadable(path: Path, error: Exception) -> WeightsUnusable:
    if isinstance(error, MemoryError) or "allocate memory" in str(error):  # torch's own is Runtime
        return WeightsUnusable(f"{path.name} asks for more memory than a check may use; {WAY_OUT}")
    return WeightsUnusable(f"{path.name} cannot be read: {_first_line(error)}; {WAY_OUT}")


# ── the unpickler's allow-list ──────────────────────────────────────────────────────────────────


def _statistic(owner: Any, name: str) -> Any:
    """Stands for the `getattr` by which a HistoryBuffer's pickle names its own methods."""
    if owner is HistoryBuffer and name in {"min", "max", "current", "mean"}:
        return getattr(owner, name)
    raise WeightsUnusable(
        f"the checkpoint asks for {name!r} of {owner!r} and was not loaded; {WAY_OUT}"
    )


# What MMEngine's own checkpoints hold beside tensors; torch has no more in its allow-list.
_ALLOWED: list[Any] = [
    HistoryBuffer,
    (_statistic, "builtins.getattr"),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)),
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),  # type: ignore[attr-defined]
]


_REFUSED = re.compile(r"(?:Unsupported|Trying to|Can only)[^\n]*")


def _cause(error: Exception) -> str:
    """torch's refusal without its advice to load the file anyway."""
    refused = _REFUSED.search(str(error))
    return (refused[0] if refused else _first_line(error)).split(". Please use")[0][:300]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


# ── what was read ───────────────────────────────────────────────────────────────────────────────


def _state_dict(checkpoint: Any, name: str) -> Weights:
    if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get("state_dict"), Mapping):
        checkpoint = checkpoint["state_dict"]
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise WeightsUnusable(
            f"{name} holds no state dict, but {type(checkpoint).__name__}; {WAY_OUT}"
        )
    odd = [key for key, value in checkpoint.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsUnusable(
            f"{name} holds values that are no tensors: {some(map(str, odd))}; {WAY_OUT}"
        )
    return {str(key).removeprefix("module."): value for key, value in checkpoint.items()}


def _sound(weights: Weights, path: Path) -> Weights:
    """Refuses tensors that would grow when they are used: a view can show one number 10¹² times."""
    strange = [
        name
        for name, tensor in weights.items()
        if tensor.layout is not torch.strided
        or tensor.device.type != "cpu"
        or tensor.dtype not in DTYPES
    ]
    if strange:
        raise WeightsUnusable(
            f"{path.name} holds tensors that are sparse, quantised, without content or of an odd "
            f"type: {some(strange)}; save dense ones of 16 to 64 bits"
        )
    shown = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    if shown > 2 * path.stat().st_size:  # twice: tied weights are stored once
        raise WeightsUnusable(
            f"the tensors of {path.name} unfold to {shown} bytes, more than the file holds; "
            f"{WAY_OUT}"
        )
    return weights


def _meta(content: Any) -> tuple[tuple[str, ...], str]:
    """(class names, config) as MMDetection 1.x to 3.x writes them; empty where they are absent."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return (), ""
    of_data = meta.get("dataset_meta")
    of_data = of_data if isinstance(of_data, Mapping) else {}
    classes = of_data.get("classes") or of_data.get("CLASSES") or meta.get("CLASSES")
    config = meta.get("cfg") or meta.get("config")
    return _names(classes), config if isinstance(config, str) and len(config) <= MAX_CONFIG else ""


def _names(classes: object) -> tuple[str, ...]:
    if not isinstance(classes, list | tuple) or not 0 < len(classes) <= MAX_CLASSES:
        return ()
    named = [name for name in classes if isinstance(name, str) and name.isprintable()]
    usable = len(named) == len(classes) and all(0 < len(name) <= 200 for name in named)
    return tuple(named) if usable else ()
