"""Weights in and out of detectors: read without executing code, loaded strictly or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pgd_core.errors import RunFailed, WeightsUnusable

Weights = dict[str, Tensor]
SHOWN = 5  # tensors named in a message


def _statistic(owner: Any, name: str) -> Any:
    """Stands for the `getattr` by which a HistoryBuffer's pickle names its own methods."""
    if owner is HistoryBuffer and name in {"min", "max", "current", "mean"}:
        return getattr(owner, name)
    raise WeightsUnusable(f"the checkpoint asks for {name!r} of {owner!r} and was not loaded")


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


def read_weights(path: Path) -> Weights:
    """The tensors of a safetensors file or of a PyTorch checkpoint, MMEngine's included.

    A checkpoint is unpickled with `weights_only` and nothing else; only its state dict is taken.
    Raises WeightsUnusable for a file that is truncated, is neither, or would execute code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_ALLOWED):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsUnusable:
        raise
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsUnusable(f"{path.name} cannot be read: {_first_line(error)}") from error
    except Exception as error:  # the unpickler's own class is private
        raise WeightsUnusable(
            f"{path.name} holds more than tensors and was not loaded ({_cause(error)}); save its "
            "state dict as safetensors"
        ) from error
    return _state_dict(checkpoint, path.name)


def _cause(error: Exception) -> str:
    """torch's refusal without its advice to load the file anyway."""
    refused = [line.strip() for line in str(error).splitlines() if "WeightsUnpickler error" in line]
    return (refused or [_first_line(error)])[0].split(". Please use")[0][:300]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _state_dict(checkpoint: Any, name: str) -> Weights:
    if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get("state_dict"), Mapping):
        checkpoint = checkpoint["state_dict"]
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise WeightsUnusable(f"{name} holds no state dict, but {type(checkpoint).__name__}")
    odd = [key for key, value in checkpoint.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsUnusable(f"{name} holds values that are no tensors: {_some(map(str, odd))}")
    return {str(key).removeprefix("module."): value for key, value in checkpoint.items()}


@dataclass(frozen=True)
class Misfit:
    """How weights differ from the model that was declared for them."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[str, ...]  # "name: (found) instead of (declared)"

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        parts = [
            ("other shapes", self.shapes),
            ("missing tensors", self.missing),
            ("unexpected tensors", self.unexpected),
        ]
        return "; ".join(f"{len(of)} {name}: {_some(of)}" for name, of in parts if of)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def misfit(model: nn.Module, weights: Mapping[str, Tensor]) -> Misfit:
    """What would have to change for `weights` to load into `model` whole."""
    declared = model.state_dict()
    optional = {name for name in declared if name.endswith("num_batches_tracked")}
    return Misfit(
        missing=tuple(sorted(declared.keys() - weights.keys() - optional)),
        unexpected=tuple(sorted(weights.keys() - declared.keys())),
        shapes=tuple(
            f"{name} {tuple(weights[name].shape)} instead of {tuple(declared[name].shape)}"
            for name in sorted(declared.keys() & weights.keys())
            if declared[name].shape != weights[name].shape
        ),
    )


def load_whole(
    model: nn.Module, weights: Mapping[str, Tensor], what: str, error: type[RunFailed]
) -> None:
    """Load every tensor, or raise `error` naming what differs and load none."""
    difference = misfit(model, weights)
    if difference:
        raise error(f"{what} does not fit its declaration: {difference}")
    broken = [k for k, v in weights.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise error(f"{what} holds NaN or infinity in {_some(broken)}")
    model.load_state_dict(dict(weights), strict=False)  # batch counters may be absent


@dataclass(frozen=True)
class Inheritance:
    """What a student took from its teacher before training."""

    copied: tuple[str, ...]
    skipped: tuple[str, ...]  # of another shape, or not in the student


def inherit_head(student: nn.Module, teacher: nn.Module) -> Inheritance:
    """Copy every tensor outside the backbone whose name and shape fit (the release's
    `init_student`)."""
    own = student.state_dict()
    offered = {k: v for k, v in teacher.state_dict().items() if not k.startswith("backbone.")}
    fits = {k: v for k, v in offered.items() if k in own and own[k].shape == v.shape}
    student.load_state_dict(fits, strict=False)
    return Inheritance(tuple(sorted(fits)), tuple(sorted(offered.keys() - fits.keys())))
