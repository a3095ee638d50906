"""Models in SQL: `jobs.models.ModelStore`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Engine, Select, delete, select, update
from sqlalchemy.orm import Session

from pgd_core.errors import FieldProblem, InvalidSpec, NotFound
from pgd_core.jobs.models import MOST_TAGS, Finding, Model
from pgd_core.store.engine import reading, writing
from pgd_core.store.model_tables import ModelRow, ModelTagRow
from pgd_core.store.rows import storable
from pgd_core.store.times import database_now


class SqlModelStore:
    """Implements `ModelStore`; see there what each method promises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def model(self, model_id: str) -> Model:
        with reading(self._engine) as session:
            return _with_tags(session, [_existing(session, model_id)])[0]

    def models(
        self,
        which: Finding = Finding(),  # noqa: B008  frozen
        *,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[Model]:
        query = _found(which).order_by(ModelRow.id.desc()).limit(limit)
        if after is not None:
            query = query.where(ModelRow.id < after)
        with reading(self._engine) as session:
            return _with_tags(session, list(session.scalars(query)))

    def change(
        self,
        model_id: str,
        *,
        add_tags: Collection[str] = (),
        remove_tags: Collection[str] = (),
        notes: str | None = None,
    ) -> Model:
        with writing(self._engine) as session:
            row = _existing(session, model_id, held=True)
            before = set(_tags(session, [model_id])[model_id])
            after = (before - set(remove_tags)) | set(add_tags)
            _check_number(after)
            gone = delete(ModelTagRow).where(ModelTagRow.model_id == model_id)
            session.execute(gone.where(ModelTagRow.tag.in_(before - after)))
            session.add_all(ModelTagRow(model_id=model_id, tag=tag) for tag in after - before)
            if notes is not None:
                row.notes = str(storable(notes))
            session.flush()
            return _with_tags(session, [row])[0]

    def unregister(self, model_id: str) -> None:
        with writing(self._engine) as session:
            _existing(session, model_id, held=True)
            end = update(ModelRow).where(ModelRow.id == model_id)
            session.execute(end.values(unregistered_at=database_now()))


def _found(which: Finding) -> Select[ModelRow]:
    query = select(ModelRow).where(ModelRow.unregistered_at.is_(None))
    for column, value in (
        (ModelRow.team, which.team),
        (ModelRow.name, which.name),
        (ModelRow.dataset_id, which.dataset_id),
        (ModelRow.job_id, which.job_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if which.tag is not None:
        tagged = select(ModelTagRow.model_id).where(ModelTagRow.tag == which.tag)
        query = query.where(ModelRow.id.in_(tagged))
    return query


def _existing(session: Session, model_id: str, *, held: bool = False) -> ModelRow:
    row = session.get(ModelRow, model_id, with_for_update=held)
    if row is None or row.unregistered_at is not None:
        raise NotFound(f"no model {model_id}")
    return row


def _check_number(tags: Collection[str]) -> None:
    if len(tags) > MOST_TAGS:
        message = f"the model would have {len(tags)} tags; {MOST_TAGS} are allowed: remove some"
        raise InvalidSpec(message, (FieldProblem("/add_tags", message),))


def _with_tags(session: Session, rows: Sequence[ModelRow]) -> list[Model]:
    tags = _tags(session, [row.id for row in rows])
    return [_model_of(row, tags[row.id]) for row in rows]


def _tags(session: Session, model_ids: Collection[str]) -> dict[str, list[str]]:
    query = select(ModelTagRow).where(ModelTagRow.model_id.in_(model_ids)).order_by(ModelTagRow.tag)
    found: dict[str, list[str]] = defaultdict(list)
    for row in session.scalars(query):
        found[row.model_id].append(row.tag)
    return found


def _model_of(row: ModelRow, tags: Iterable[str]) -> Model:
    names = set(Model.__dataclass_fields__) - {"tags", "classes"}
    values = {name: getattr(row, name) for name in names}
    return Model(**values, tags=tuple(sorted(tags)), classes=tuple(row.classes))
