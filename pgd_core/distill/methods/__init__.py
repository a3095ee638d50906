"""One file a method: its parameters with their presets, its losses, and `build`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from torch import nn

from pgd_core.distill.inputs import Setting


def build_method(name: str, setting: Setting, options: Mapping[str, Any]) -> nn.Module:
    """The method of that name: `build` of its file, with the options that were given."""
    module = import_module(f"{__name__}.{name}")
    return cast(nn.Module, module.build(setting, options))
