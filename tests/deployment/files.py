"""The deployment's files, read as their tools read them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
OVERRIDES = tuple(ROOT / f"docker-compose.{name}.yml" for name in ("cpu", "machines", "worker"))
UNITS = tuple(sorted((ROOT / "docs/systemd").glob("*.service")))

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:-|:\?)([^}]*))?\})")


class Reset:
    """What `!reset` leaves: nothing."""


class ComposeLoader(yaml.SafeLoader):
    """Knows Compose's own tags."""


def _override(loader: ComposeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    raise AssertionError(f"!override of a {node.id} is not read here")


ComposeLoader.add_constructor("!reset", lambda _loader, _node: Reset())
ComposeLoader.add_constructor("!override", _override)


def compose(path: Path = COMPOSE) -> dict[str, Any]:
    """The file's content, its variables as they are written."""
    content = yaml.load(path.read_text(), ComposeLoader)
    assert isinstance(content, dict)
    return content


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """As Compose hands it on; what is required and missing is an error, resets are gone."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not isinstance(v, Reset)}
        return {k: interpolated(v, variables) for k, v in kept.items()}
    if isinstance(value, list):
        return [interpolated(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def put(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        assert operator != ":?", f"{name} is required"
        return rest or ""

    return _VARIABLE.sub(put, value)


def variables_of(path: Path) -> set[str]:
    """All that Compose takes from `.env`, the variables that are handed on as they are included."""
    found = {match[1] for match in _VARIABLE.finditer(path.read_text()) if match[1]}
    for service in compose(path)["services"].values():
        found |= {name for name, value in service.get("environment", {}).items() if value is None}
    return found


def env_example() -> dict[str, str]:
    """The variables of `.env.example` with their values, those in comments included."""
    lines = re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.M)
    assert len(lines) == len({name for name, _ in lines})
    return dict(lines)


def filled_in() -> dict[str, str]:
    """An `.env` of somebody who filled in all that needs a value."""
    return {name: value or "filled" for name, value in env_example().items()}


def pyproject() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def docker_stages() -> dict[str, list[tuple[str, str]]]:
    """Of the Dockerfile: each stage's instructions, FROM the first; build arguments before all."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    stages: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for line in filter(str.strip, lines):
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            name = rest.split(" AS ")[1]
            stages[name] = []
        stages[name].append((instruction, " ".join(rest.split())))
    return stages


def seconds(text: str) -> float:
    """Of Compose's `60s`."""
    assert text.endswith("s"), text
    return float(text[:-1])
