"""How commands read and print JSON."""

from __future__ import annotations

import json
from typing import Any

import typer
from pydantic import BaseModel


def show_answer(answer: BaseModel, as_json: bool, text: str) -> None:
    """Print an answer, as JSON or in short."""
    typer.echo(answer.model_dump_json(indent=2) if as_json else text)


def json_object(text: str, source: str) -> dict[str, Any]:
    """What a file says, when it is a JSON object."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{source} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise typer.BadParameter(f"{source} is not a JSON object")
    return content
