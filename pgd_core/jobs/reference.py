"""The reference of every job's spec as Markdown, made from the models themselves.

python -m pgd_core.jobs.reference > docs/spec.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pgd_core.jobs.field_words import default_in_words, fields_of
from pgd_core.jobs.spec import job_spec_adapter

_HEAD = """\
# The spec of a job

What `POST /v1/jobs`, `pgd submit` and `pgd check` take, as JSON or YAML. `kind` says which of these
it is; a field that is not listed is refused. `pgd init KIND` writes one with every field explained.

This page is made from the code: `python -m pgd_core.jobs.reference > docs/spec.md`.
"""


def reference() -> str:
    """The whole page."""
    schema = job_spec_adapter.json_schema()
    models: dict[str, Any] = schema["$defs"]
    kinds = {kind: _name(ref) for kind, ref in schema["discriminator"]["mapping"].items()}
    parts = [name for name in models if name not in kinds.values() and "properties" in models[name]]
    return "\n".join([_HEAD, *_contents(kinds, parts), *_sections(kinds, parts, models)])


def _contents(kinds: Mapping[str, str], parts: list[str]) -> Iterator[str]:
    yield "- Kinds: " + ", ".join(f"[{kind}](#{kind})" for kind in kinds)
    yield "- Parts of them: " + ", ".join(_link(name) for name in sorted(parts)) + "\n"


def _sections(
    kinds: Mapping[str, str], parts: list[str], models: Mapping[str, Any]
) -> Iterator[str]:
    for kind, name in kinds.items():
        yield from _section(f"## {kind}", models[name], models)
    for name in sorted(parts):
        yield from _section(f"## {name}", models[name], models)


def _section(title: str, schema: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[str]:
    yield f"{title}\n"
    yield f"{schema['description']}\n"
    yield "| Field | What it is | Default | Meaning |"
    yield "| :-- | :-- | :-- | :-- |"
    for field in fields_of(schema, models, _link):
        default = "**required**" if field.required else _default(field.default)
        cells = (f"`{field.name}`", field.allowed, default, field.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _default(value: Any) -> str:
    """A part that is left out takes its own defaults."""
    if isinstance(value, Mapping):
        named = value.get("name")
        return f'`{{"name": "{named}"}}`' if named else "its own defaults" if value else "none"
    return f"`{default_in_words(value)}`"


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


if __name__ == "__main__":
    sys.stdout.write(reference())
