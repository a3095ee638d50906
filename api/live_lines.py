"""The lines of live streams: the same objects as JSON that the polled series hold."""

from __future__ import annotations

from sqlalchemy import Engine

from api.live import Line, Watcher
from api.schemas import EventView, MetricLine
from pgd_core.jobs.live import SeriesName
from pgd_core.jobs.protocols import JobStore
from pgd_core.store import SqlJobStore
from pgd_core.store.live import SqlLiveStore


def watcher_of(engine: Engine) -> Watcher:
    """The process's watcher over this database."""
    jobs: JobStore = SqlJobStore(engine)

    def read(job_id: str, series: SeriesName, after: int, limit: int) -> list[Line]:
        if series == "events":
            events = jobs.events(job_id, after=after, limit=limit)
            return [(event.sequence, EventView.of(event).model_dump_json()) for event in events]
        lines = jobs.progress_lines(job_id, after=after, limit=limit)
        return [
            (number, MetricLine(sequence=number, **line.model_dump()).model_dump_json())
            for number, line in lines
        ]

    return Watcher(SqlLiveStore(engine), read)
