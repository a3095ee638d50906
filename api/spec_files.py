"""A job's spec from a file: JSON, or YAML of plain values, with the line of each field.

YAML is read by its events alone, so nothing is ever constructed from a tag. Values are read as in
YAML 1.2 and JSON: only true and false are booleans, 1e-4 is a number, a date is a text. Refused:
aliases and anchors, tags, keys that are no texts or come twice, several documents, deep nesting,
and more than a MiB.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1024 * 1024  # what the API takes
DEEPEST = 32
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")


class NoSpec(ValueError):
    """The file is not one JSON or YAML object of plain values."""


@dataclass(frozen=True)
class SpecFile:
    """What a file says, and where."""

    content: dict[str, Any]
    source: str
    lines: dict[str, int]  # by JSON pointer, counted from 1

    def where(self, pointer: str) -> str:
        """`FILE:LINE` of the field, or of the nearest one around it that is there."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        line = self.lines.get(pointer)
        return self.source if line is None or not pointer else f"{self.source}:{line}"


def read_spec(path: Path) -> SpecFile:
    """The file's spec; `-` is standard input. NoSpec says what is wrong with it, and where."""
    if str(path) == "-":
        return parse_spec(sys.stdin.read(MOST_BYTES + 1), "-")
    with path.open(encoding="utf-8") as file:
        try:
            text = file.read(MOST_BYTES + 1)
        except UnicodeDecodeError as error:
            raise NoSpec(f"{path} is not UTF-8 text") from error
    return parse_spec(text, str(path))


def parse_spec(text: str, source: str) -> SpecFile:
    """As `read_spec`, from a text. What begins as a JSON object is JSON where it can be."""
    if len(text.encode()) > MOST_BYTES:
        raise NoSpec(f"{source} is over {MOST_BYTES} bytes")
    try:
        content, lines = _Reader(source).read(text)
    except yaml.YAMLError as error:
        found = _as_json(text, source)  # YAML knows no tabs
        if found is None:
            raise NoSpec(f"{source} is neither JSON nor YAML: {_said(error)}") from error
        content, lines = found, {}
    if not isinstance(content, dict):
        raise NoSpec(f"{source} is not an object with fields, but {_kind(content)}")
    return SpecFile(content, source, lines)


def _as_json(text: str, source: str) -> Any:
    """The text as JSON; None where it is none."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise NoSpec(f"{source}: {twice!r} comes twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except NoSpec:
        raise
    except (ValueError, RecursionError):
        return None


class _Reader:
    """One text's events, made into plain values."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: dict[str, int] = {}

    def read(self, text: str) -> tuple[Any, dict[str, int]]:
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        first = self._next(yaml.StreamStartEvent, yaml.DocumentStartEvent)
        if isinstance(first, yaml.StreamEndEvent):
            return None, {}
        content = self._value(first, "", 0)
        self._next(yaml.DocumentEndEvent, expected=yaml.StreamEndEvent)
        return content, self._lines

    def _next(self, *skipped: type, expected: type | None = None) -> Any:
        event = next(self._events)
        while isinstance(event, skipped):
            event = next(self._events)
        if expected is not None and not isinstance(event, expected):
            raise self._refusal(event, "a second document begins; give one spec a file")
        return event

    def _value(self, event: Any, pointer: str, depth: int) -> Any:
        self._lines.setdefault(pointer, event.start_mark.line + 1)
        if depth > DEEPEST:
            raise self._refusal(event, f"fields lie more than {DEEPEST} deep")
        if isinstance(event, yaml.AliasEvent):
            raise self._refusal(event, f"alias *{event.anchor}: write the value out")
        if event.anchor is not None:
            raise self._refusal(event, f"anchor &{event.anchor}: write the value out each time")
        if event.tag is not None:
            raise self._refusal(event, f"tag {event.tag}: give plain values only")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(pointer, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(pointer, depth)
        return _plain(event.value) if event.style is None else event.value

    def _mapping(self, pointer: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            if key is None or event.tag or event.anchor:
                raise self._refusal(event, "a field's name must be a plain text")
            if key in found:
                raise self._refusal(event, f"{key!r} comes twice")
            inside = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            self._lines[inside] = event.start_mark.line + 1
            found[key] = self._value(self._next(), inside, depth + 1)
        return found

    def _sequence(self, pointer: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._value(event, f"{pointer}/{len(found)}", depth + 1))
        return found

    def _refusal(self, event: Any, why: str) -> NoSpec:
        return NoSpec(f"{self._source}:{event.start_mark.line + 1}: {why}")


def _plain(text: str) -> Any:
    """A scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _said(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = "" if mark is None else f"line {mark.line + 1}, "
    return f"{where}{problem or 'it holds a character that is not allowed'}"


def _kind(content: Any) -> str:
    named = {list: "a list", str: "a text", type(None): "empty"}
    return named.get(type(content), "a single value")
