"""A first spec of each kind as YAML, with every field explained; ids are left to be filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from pgd_core.jobs.field_words import FieldWords, fields_of_model
from pgd_core.jobs.spec import job_spec_adapter

FILL_IN = "FILL-IN"
_MODEL = {"detector": "fcos", "backbone": {"name": "resnet50"}}
STARTERS: Mapping[str, dict[str, Any]] = {
    "train": {"kind": "train", "dataset": FILL_IN, "model": _MODEL},
    "distill": {
        "kind": "distill",
        "dataset": FILL_IN,
        "teacher": FILL_IN,
        "student": {"name": "resnet18"},
    },
    "evaluate": {"kind": "evaluate", "dataset": FILL_IN, "teacher": FILL_IN},
    "analyse": {"kind": "analyse", "dataset": FILL_IN, "teacher": FILL_IN},
    "export": {"kind": "export", "dataset": FILL_IN, "job": FILL_IN},
    "study": {
        "kind": "study",
        "dataset": FILL_IN,
        "teachers": {"ours": FILL_IN},
        "student": {"name": "resnet18"},
        "matrices": [{"axes": [{"field": "method", "values": ["fgd", "pgd"]}]}],
    },
}
_WIDTH = 100


def template(kind: str) -> str:
    """The spec as YAML. Its values are the defaults, but for what has none."""
    spec = job_spec_adapter.validate_python(STARTERS[kind])
    lines = [
        f"# {(type(spec).__doc__ or '').splitlines()[0]}",
        f"# Replace each {FILL_IN}, change what you like, delete what shall stay as it is.",
        "# Then: pgd check FILE, and pgd submit FILE. All about the fields: docs/spec.md.",
        *_fields(spec, STARTERS[kind], ""),
    ]
    return "\n".join(lines) + "\n"


def _fields(model: BaseModel, chosen: Mapping[str, Any], indent: str) -> Iterator[str]:
    """The model's fields; `chosen` are those that the starter gives itself."""
    for name, words in fields_of_model(type(model)).items():
        value = getattr(model, name)
        yield ""
        yield from _comment(words, indent)
        if isinstance(value, BaseModel):
            inside = chosen.get(name)
            yield f"{indent}{name}:"
            yield from _fields(value, inside if isinstance(inside, Mapping) else {}, indent + "  ")
        else:
            yield f"{indent}{name}: {_plain(value)}{_mark(value, words)}"


def _comment(words: FieldWords, indent: str) -> Iterator[str]:
    limits = words.allowed
    said = f"{words.meaning} [{limits}]".replace("`", "")
    line = f"{indent}#"
    for word in said.split():
        if len(line) + 1 + len(word) > _WIDTH:
            yield line
            line = f"{indent}#"
        line = f"{line} {word}"
    yield line


def _mark(value: Any, words: FieldWords) -> str:
    if FILL_IN in _plain(value):
        return "  # <- fill in"
    return "  # required" if words.required else ""


def _plain(value: Any) -> str:
    """As JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False, default=_as_json)


def _as_json(value: Any) -> Any:
    return (
        value.model_dump(mode="json", exclude_defaults=True)
        if isinstance(value, BaseModel)
        else str(value)
    )
