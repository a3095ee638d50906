"""Which of timm's networks can be a backbone here, and weights that timm has saved for them.

A network is used as it is: at random, or from a file. It needs a map at each of the strides 8, 16
and 32, whatever the size of the picture; plain vision transformers have one stride only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, cast

import torch
from torch import nn

from pgd_core.detectors.timm_backbone import TimmBackbone, feature_net, import_timm
from pgd_core.detectors.weights import Weights
from pgd_core.errors import InvalidSpec
from pgd_core.jobs.detector import OF_TIMM

STRIDES = (8, 16, 32)
_TRIED = (64, 96)  # height, width of the picture that a network is tried with


@dataclass(frozen=True)
class Levels:
    """Where a network's maps at strides 8, 16 and 32 are found."""

    indices: tuple[int, ...]  # among timm's feature levels
    channels: tuple[int, ...]
    unused: tuple[str, ...]  # parameters that no map depends on


@cache
def feature_levels(name: str) -> Levels:
    """The levels of timm's network `name`; InvalidSpec where there is none, or it has not all.

    The network is built and run without memory for its tensors, so this takes a second at most.
    """
    _refuse_unknown(name)
    with _without_memory():
        try:
            described = cast(Any, feature_net(name)).feature_info.info
        except Exception as error:  # timm raises whatever comes up in a network's own code
            raise _unfit(name, f"gives no feature maps ({_first_line(error)})") from error
        at = {level["reduction"]: index for index, level in enumerate(described)}
        if not set(STRIDES) <= at.keys():
            found = ", ".join(map(str, sorted(at)))
            raise _unfit(name, f"has maps at strides {found}, not at 8, 16 and 32")
        return _tried(name, tuple(at[stride] for stride in STRIDES))


def _tried(name: str, indices: tuple[int, ...]) -> Levels:
    try:
        backbone = TimmBackbone(name, indices)
        maps = backbone(torch.zeros(2, 3, *_TRIED))
        names, parameters = zip(*backbone.named_parameters(), strict=True)
        total = torch.stack([map_.sum() for map_ in maps]).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    except Exception as error:
        raise _unfit(name, f"takes no picture of {_TRIED} pixels ({_first_line(error)})") from error
    sizes = [tuple(map_.shape[-2:]) for map_ in maps]
    expected = [tuple(side // stride for side in _TRIED) for stride in STRIDES]
    if sizes != expected:
        raise _unfit(name, f"turns {_TRIED} pixels into maps of {sizes}, not {expected}")
    unused = (n for n, gradient in zip(names, gradients, strict=True) if gradient is None)
    return Levels(indices, tuple(map_.shape[1] for map_ in maps), tuple(unused))


def _unfit(name: str, why: str) -> InvalidSpec:
    return InvalidSpec(
        f"backbone {OF_TIMM}{name} {why}; use another network, such as {OF_TIMM}resnet10t"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _refuse_unknown(name: str) -> None:
    try:
        timm = import_timm()
    except ImportError as error:
        raise InvalidSpec(
            f"backbone {OF_TIMM}{name} needs timm, which the worker cannot import ({error}); "
            "there, `pip install --no-deps timm`"
        ) from error
    architecture, _, tag = name.partition(".")
    known = timm.list_pretrained(f"{architecture}.*") if tag else timm.list_models()
    if name in known or (not tag and timm.is_model(name)):
        return
    close = get_close_matches(name, known or timm.list_models(), n=3, cutoff=0.4)
    raise InvalidSpec(
        f"backbone {OF_TIMM}{name}: timm {timm.__version__} knows no network {name!r}"
        + (f"; close to it: {', '.join(OF_TIMM + each for each in close)}" if close else "")
    )


@contextmanager
def _without_memory() -> Iterator[None]:
    """Tensors have shapes only, and no random number is drawn that a training would miss."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        yield


def weights_of_timm(
    name: str,
    backbone: nn.Module,
    weights: Weights,  # of timm's whole network, or of a `TimmBackbone`
) -> Weights:
    """The same under the names of `backbone`; names that timm's network has not are kept, so that
    loading refuses them.

    timm renames modules when it takes a network's features: the first dot of an unpacked container
    becomes an underscore, and some networks go under `model` or `body`.
    """
    own = backbone.state_dict()
    if weights.keys() & own.keys():
        return weights
    with _without_memory():
        whole = import_timm().create_model(name).state_dict().keys()
    found = {key: _named_by_timm(key) & weights.keys() for key in own}
    taken: dict[str, Any] = {key: weights[names.pop()] for key, names in found.items() if names}
    return taken | {key: value for key, value in weights.items() if key not in whole}


def _named_by_timm(key: str) -> set[str]:
    """What a tensor of a `TimmBackbone` may be called in timm's whole network."""
    inner = key.removeprefix("net.")
    first, _, rest = inner.partition(".")
    unpacked = {
        f"{first[: at.start()]}.{first[at.end() :]}.{rest}" for at in re.finditer("_", first)
    }
    return {inner, *unpacked, re.sub(r"^(model|body)\.", "", inner)}
