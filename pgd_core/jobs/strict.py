"""What every spec, and every body of a request, is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

FORBIDDEN = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
_NUMBERS_AND_BOOLEANS = ("int", "float", "bool")


def _be_strict(schema: Any) -> None:
    """Let the schema's numbers and booleans take nothing else, at any depth."""
    if isinstance(schema, list | tuple):
        for part in schema:
            _be_strict(part)
    elif isinstance(schema, dict):
        if schema.get("type") in _NUMBERS_AND_BOOLEANS:
            schema["strict"] = True
        for name, part in schema.items():
            if name not in ("default", "metadata"):
                _be_strict(part)


class Strict(BaseModel):
    """A frozen model that refuses unknown fields, NaN and infinity, and takes JSON's types as they
    are: no "8" for 8, no 0 for false."""

    model_config = FORBIDDEN

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # Pydantic's own strict mode would refuse JSON's arrays for tuples, and words for enums too.
        schema = handler(source)
        _be_strict(schema)
        return schema
