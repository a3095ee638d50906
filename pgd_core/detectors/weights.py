"""Weights in and out of detectors: loaded strictly or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pgd_core.errors import RunFailed

Weights = dict[str, Tensor]
SHOWN = 5  # tensors named in a message


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
        return "; ".join(f"{len(of)} {name}: {some(of)}" for name, of in parts if of)


def some(names: Iterable[str]) -> str:
    """The first few, for a message."""
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
        raise error(f"{what} holds NaN or infinity in {some(broken)}")
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
