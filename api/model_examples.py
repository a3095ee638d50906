"""Example bodies of the models' routes in the OpenAPI document."""

from __future__ import annotations

from fastapi.openapi.models import Example

MODEL_CHANGE_EXAMPLES: dict[str, Example] = {
    "tag": {
        "summary": "The one that is in use",
        "value": {"add_tags": ["production"], "remove_tags": ["candidate"]},
    },
    "note": {"summary": "Say something about it", "value": {"notes": "misses bicycles at night"}},
}
EXPORT_EXAMPLES: dict[str, Example] = {
    "plain": {"summary": "As it is usually done", "value": {}},
    "strict": {
        "summary": "Fewer boxes, compared on more pictures",
        "value": {"score_threshold": 0.2, "max_detections": 50, "pictures": 32},
    },
}
