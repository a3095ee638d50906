"""Uploads that a check has recognised, without the check."""

from __future__ import annotations

from typing import Any

from pgd_core.jobs.recognised import Recognised
from tests.api.conftest import CLASSES, MODEL, World

WEIGHTS = b"converted"
SEEN: dict[str, Any] = {
    "detector": "fcos",
    "backbone": "resnet18",
    "depth": 18,
    "neck_width": 64,
    "head_width": 64,
    "head_convs": 4,
    "classes": 2,
    "class_names": CLASSES,
    "norms": {"backbone": "BN", "neck": "none", "head": "GN"},
    "model": MODEL,
}


def sent(world: World, **declared: Any) -> str:
    """The id of a teacher of an upload that waits for its check."""
    upload_id = world.http.post("/v1/uploads", content=b"weights").json()["id"]
    body = {"name": "big", "source": {"upload": upload_id}, **declared}
    answer = world.http.post("/v1/teachers", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def recognise(world: World, teacher_id: str, **seen: Any) -> str:
    """As its check would end: the id of a teacher that waits for its confirmation."""
    found = Recognised.model_validate({**SEEN, **seen}).model_dump(mode="json")
    source = world.settings.data_folder / "converted"
    source.write_bytes(WEIGHTS)
    key = f"teachers/{teacher_id}/teacher.safetensors"
    _, sha256 = world.services.files.put(key, source)
    world.services.library.teacher_checked(teacher_id, key=key, sha256=sha256, recognised=found)
    return teacher_id


def unconfirmed(world: World, **seen: Any) -> str:
    """The id of a teacher that was sent without a word and recognised."""
    return recognise(world, sent(world), **seen)
