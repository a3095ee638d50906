"""The config that MMDetection writes into a checkpoint, as data: parsed, never executed.

Some of what a detector computes shows in no tensor, such as where a bottleneck strides or how
pictures are normalised. Where the config says it, it is compared with what is built here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

Config = dict[str, Any]
UNKNOWN = object()  # an expression that is no plain value

# Path below `model`, and MMDetection's default where the config leaves it out.
_COMPARED: tuple[tuple[str, str, object], ...] = (
    ("backbone", "style", "pytorch"),
    ("neck", "relu_before_extra_convs", False),
    ("bbox_head", "norm_on_bbox", False),
    ("bbox_head", "centerness_on_reg", False),
    ("bbox_head", "strides", None),
    ("bbox_head", "anchor_generator", None),
    ("bbox_head", "bbox_coder", None),
)


def parsed_config(text: str) -> Config:
    """Its top-level names; empty where the text is no config."""
    try:
        module = ast.parse(text)
        values: Config = {}
        for statement in module.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    values[name] = _value(value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return values


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {each.arg: _value(each.value) for each in keywords if each.arg is not None}
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {k.value: _value(v) for k, v in pairs if isinstance(k, ast.Constant)}
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(each) for each in elements]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Constant(value=value):
            return value
    return UNKNOWN


def part(config: Config, *path: str) -> Any:
    """What stands there; UNKNOWN where nothing does."""
    found: Any = config
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return UNKNOWN
        found = found[key]
    return found


def differences(
    stated: Config,  # as `parsed_config` gives it
    ours: Config,  # the `model` part of what is built here
) -> list[str]:
    """What the checkpoint's detector computes otherwise, although its tensors fit."""
    return [*_of_model(stated, ours), *_of_pixels(stated, ours)]


def _of_model(stated: Config, ours: Config) -> Iterator[str]:
    for group, key, default in _COMPARED:
        if not isinstance(part(stated, "model", group), dict):
            continue
        there, here = part(stated, "model", group, key), part(ours, group, key)
        there = default if there is UNKNOWN else there
        here = default if here is UNKNOWN else here
        yield from _unequal(f"{group}.{key}", there, here)


def _unequal(path: str, there: Any, here: Any) -> Iterator[str]:
    """Of two objects only the keys that both have: what one leaves out may be its default."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() & here.keys() - {"type"}):
            yield from _unequal(f"{path}.{key}", there[key], here[key])
    elif there is not None and here is not None and there is not UNKNOWN and there != here:
        yield f"{path} is {str(there)[:60]} there and {str(here)[:60]} here"


def _of_pixels(stated: Config, ours: Config) -> Iterator[str]:
    """MMDetection 3 normalises in the model, 1 and 2 in the pipeline."""
    for new, old in (("mean", "mean"), ("std", "std"), ("bgr_to_rgb", "to_rgb")):
        there = part(stated, "model", "data_preprocessor", new)
        there = part(stated, "img_norm_cfg", old) if there is UNKNOWN else there
        yield from _unequal(f"pictures' {old}", there, ours["data_preprocessor"][new])
