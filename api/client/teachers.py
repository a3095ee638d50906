"""What follows a teacher's check, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from api.client.jobs import PlacementOptions
from api.client.wire import Spec, Wire, plain
from api.schemas import JobView, TeacherView


class TeacherCalls(Wire):
    """What is asked of a registered teacher."""

    def confirm_teacher(
        self,
        teacher_id: str,
        model: Spec | None = None,
        classes: Sequence[str] | None = None,
    ) -> TeacherView:
        """Say that a teacher is what it was recognised as, but for what is given here."""
        said = declaration(model, classes)
        return self._post(f"/v1/teachers/{teacher_id}:confirm", TeacherView, said)

    def evaluate_teacher(
        self,
        teacher_id: str,
        dataset: str,
        settings: Mapping[str, Any] | None = None,  # the other fields of an `evaluate` job
        *,
        idempotency_key: str | None = None,
        **placement: Unpack[PlacementOptions],
    ) -> JobView:
        """Queue an `evaluate` job of it; of its own team unless another is given."""
        answer = self._send(
            "POST",
            f"/v1/teachers/{teacher_id}:evaluate",
            json={"dataset": dataset, **(settings or {})},
            headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
            params={name: value for name, value in placement.items() if value is not None},
        )
        return JobView.model_validate_json(answer.content)

    def delete_teacher(self, teacher_id: str) -> None:
        """Delete it and its weights; refused while a job needs it."""
        self._send("DELETE", f"/v1/teachers/{teacher_id}")


def declaration(model: Spec | None, classes: Sequence[str] | None) -> dict[str, Any]:
    """What is said of a detector, as JSON: what is None is left out."""
    said = {"model": plain(model)} if model is not None else {}
    return said if classes is None else {**said, "classes": list(classes)}
