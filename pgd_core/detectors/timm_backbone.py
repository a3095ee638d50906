"""timm's networks as backbones of MMDetection's detectors.

`import` this file before a config with `type="TimmBackbone"` is built; the configs that come with
it do so themselves, by their `custom_imports`. It needs mmdet and timm. It is also shipped beside
an exported detector, as `timm_backbone.py`.

timm imports torchvision, for its own data pipeline and for one class it compares with; networks do
not use it. So where torchvision is absent, or built for another torch, a stand-in takes its place
while timm is imported, and is gone afterwards: `pip install --no-deps timm` is enough.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any, NoReturn, Self

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

STOOD_IN = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


@MODELS.register_module(force=True)
class TimmBackbone(BaseModule):  # type: ignore[misc]
    """Feature maps of a timm network, which starts from timm's own random weights."""

    def __init__(
        self,
        model_name: str,  # as timm knows it
        out_indices: Sequence[int],  # of timm's feature levels, ascending
        freeze_batch_norm: bool = False,  # statistics and affine terms
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.net = feature_net(model_name, out_indices=tuple(out_indices))
        self.channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.freeze_batch_norm = freeze_batch_norm
        if freeze_batch_norm:
            for norm in self._batch_norms():
                norm.requires_grad_(False)

    def init_weights(self) -> None:
        """Nothing: timm has initialised the network."""

    def forward(
        self,
        pictures: Tensor,  # (N, 3, H, W)
    ) -> tuple[Tensor, ...]:  # (N, C_l, H_l, W_l) each
        """The maps of `out_indices`, in their order."""
        maps = self.net(pictures)
        return tuple(m.permute(0, 3, 1, 2) if self.channels_last else m for m in maps)

    def train(self, mode: bool = True) -> Self:
        """As any module, but that frozen norms stay in evaluation."""
        super().train(mode)
        if self.freeze_batch_norm:
            for norm in self._batch_norms():
                norm.eval()
        return self

    def _batch_norms(self) -> Iterator[nn.Module]:
        return (module for module in self.modules() if isinstance(module, _BatchNorm))


def feature_net(model_name: str, **options: Any) -> nn.Module:
    """timm's network without its classifier, with random weights, for pictures of any size."""
    if model_name.startswith("swin"):
        options["strict_img_size"] = False  # timm's Swin takes one size unless told otherwise
    net: nn.Module = import_timm().create_model(model_name, features_only=True, **options)
    return net


def import_timm() -> Any:
    """The package `timm`, with or without a torchvision that works."""
    if "timm" in sys.modules:
        return sys.modules["timm"]
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError):  # absent, or built for another torch
        with _torchvision_stood_in():
            return importlib.import_module("timm")
    return importlib.import_module("timm")


# ── the stand-in ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _torchvision_stood_in() -> Iterator[None]:
    """Modules of torchvision's names, of which any class can be imported and none made.

    They leave `sys.modules` again, so that whoever asks for torchvision later hears the truth.
    """
    stand_ins: dict[str, ModuleType] = {name: _StandIn(name) for name in STOOD_IN}
    for name, module in stand_ins.items():
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(stand_ins[parent], own, module)
    kept = {name: sys.modules[name] for name in STOOD_IN if name in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in STOOD_IN:
            del sys.modules[name]
        sys.modules.update(kept)


class _StandIn(ModuleType):
    """A module that has every class asked for."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "InterpolationMode":  # timm lists its members on import
            return _InterpolationMode

        def refuse(*_: object, **__: object) -> NoReturn:
            raise ImportError(
                f"{self.__name__}.{name} needs torchvision, which is not installed or not built "
                "for this torch"
            )

        return type(name, (nn.Module,), {"__init__": refuse})


class _InterpolationMode(Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"
