"""A field of a spec in words: its meaning, what it may be, what it is by default."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

Schema = Mapping[str, Any]
_TYPES = {"string": "text", "boolean": "true or false", "null": "null", "object": "object"}


@dataclass(frozen=True)
class FieldWords:
    """One field."""

    name: str
    meaning: str
    allowed: str
    required: bool
    default: Any = None


def fields_of(
    schema: Schema, models: Mapping[str, Schema], link: Callable[[str], str] = str
) -> Iterator[FieldWords]:
    """Of a model's JSON schema; `models` are its `$defs`, `link` writes the name of one."""
    for name, field in schema["properties"].items():
        yield FieldWords(
            name,
            _meaning(field, models),
            allowed(field, models, link),
            name in schema.get("required", ()),
            field.get("default"),
        )


def fields_of_model(model: type[BaseModel]) -> dict[str, FieldWords]:
    """Of a model, by name; a part that it holds goes by its own name, such as a method's."""
    schema = model.model_json_schema()
    models: Mapping[str, Schema] = schema.get("$defs", {})

    def own_name(part: str) -> str:
        name = models[part].get("properties", {}).get("name", {})
        return str(name.get("const", "fields of its own"))

    return {field.name: field for field in fields_of(schema, models, own_name)}


def allowed(field: Schema, models: Mapping[str, Schema], link: Callable[[str], str] = str) -> str:
    """The values that a field may have."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        if "properties" not in models[name]:
            return allowed(models[name], models, link)
        return link(name)
    for union in ("anyOf", "oneOf", "allOf"):
        if union in field:
            return " or ".join(dict.fromkeys(allowed(one, models, link) for one in field[union]))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = field.get("type", "any value")
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + _bounds(field)
    if kind == "array":
        return _list(field, models, link)
    if kind == "object" and isinstance(field.get("additionalProperties"), Mapping):
        return f"by name: {allowed(field['additionalProperties'], models, link)}"
    if kind == "string" and "maxLength" in field:
        return f"text, at most {field['maxLength']} characters"
    return _TYPES.get(kind, str(kind))


def default_in_words(value: Any) -> str:
    """As JSON; long fractions are cut."""
    return json.dumps(_rounded(value), ensure_ascii=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def _meaning(field: Schema, models: Mapping[str, Schema]) -> str:
    """The field's own description, else that of the model that it holds, first line."""
    if "description" in field:
        return " ".join(str(field["description"]).split())
    if "const" in field:
        return "Says which this is."
    found = models.get(str(field.get("$ref", "")).rpartition("/")[2], {})
    return str(found.get("description", "")).split("\n\n")[0].replace("\n", " ")


def _bounds(field: Schema) -> str:
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, under = field.get("maximum"), field.get("exclusiveMaximum")
    parts = [
        f"at least {low:g}" if low is not None else "",
        f"over {above:g}" if above is not None else "",
        f"at most {high:.10g}" if high is not None else "",
        f"under {under:g}" if under is not None else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f", {said}" if said else ""


def _list(field: Schema, models: Mapping[str, Schema], link: Callable[[str], str]) -> str:
    least, most = field.get("minItems"), field.get("maxItems")
    number = f"{least or 0} to {most}" if most else f"at least {least}" if least else "any number"
    return f"list of {number}: {allowed(field.get('items', {}), models, link)}"
