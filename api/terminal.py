"""Jobs on a terminal: a live bar with the time left, and the table of a result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.client import Client
from api.schemas import JobView, MetricLine
from pgd_core.jobs.study_words import words_of_study

COCO_METRICS = ("AP", "AP50", "AP75")
CROWDHUMAN_METRICS = ("AP", "MR", "JI")
COST = ("parameters", "GFLOPs", "latency")
TITLES = {
    "teacher": "teacher",
    "plain": "plain student",
    "head_only": "head-only student",
    "distilled": "distilled student",
    "detector": "detector",
}
GAINS = {"over_plain": "the plain student", "over_head_only": "the head-only student"}


def follow(client: Client, job_id: str, console: Console, title: str) -> JobView:
    """Show a job until it ends; the job as it ended. Without a terminal, a line now and then."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    seen, said, why = 0, -1.0, ""
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:
        bar = bars.add_task(title, total=1.0, left="")
        for job in client.watch(job_id):
            lines, seen = _lines_after(client, job_id, seen)
            for line in lines:
                if (text := _event(line)) is not None:
                    bars.console.print(f"  {title}: {text}", highlight=False, markup=False)
            if job.waits_because != "next" and job.waits_message not in ("", why):
                why = job.waits_message
                bars.console.print(f"  {title}: {waits(job)}", highlight=False, markup=False)
            bars.update(bar, completed=job.done, description=_doing(title, job), left=_left(job))
            if hidden and job.done >= said + 0.1:
                said = job.done
                text = f"  {_doing(title, job)} {job.done:.0%} {_left(job)}".rstrip()
                console.print(text, highlight=False, markup=False)
    return job


def _lines_after(client: Client, job_id: str, seen: int) -> tuple[list[MetricLine], int]:
    """Every line of progress that is new, and the number of the last."""
    lines: list[MetricLine] = []
    while True:
        series = client.metrics(job_id, after=seen)
        lines, seen = lines + series.items, series.next_after
        if not series.has_more:
            return lines, seen


def result_table(result: Mapping[str, Any]) -> Table:
    """The detectors of a job's result: accuracy in percent, cost, time for one picture."""
    detectors = [(title, result.get(name)) for name, title in TITLES.items()]
    found = [(title, of) for title, of in detectors if isinstance(of, Mapping)]
    is_crowd = any("MR" in of.get("metrics", {}) for _, of in found)
    metrics = CROWDHUMAN_METRICS if is_crowd else COCO_METRICS
    table = Table("detector", *metrics, *COST)
    for column in table.columns[1:]:
        column.justify = "right"
    for title, of in found:
        table.add_row(title, *_numbers(of, metrics))
    return table


def study_table(result: Mapping[str, Any]) -> Table:
    """A study's result; gains are taken seed by seed."""
    heads, rows = words_of_study(result, ("AP", "AP50", "AP75", "MR", "JI"))
    table = Table(*heads)
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def gains(result: Mapping[str, Any]) -> list[str]:
    """What distillation gained, in sentences."""
    found = result.get("gain", {})
    return [
        f"distillation gained {found[key]:+.1f} AP over {name}"
        for key, name in GAINS.items()
        if isinstance(found.get(key), int | float)
    ]


def jobs_table(jobs: list[JobView]) -> Table:
    """One job a row, whole on 80 columns but for its name."""
    heads = ("id", "kind", "state", "done", "left", "created", "name")
    table = close_table(heads, wrapped=("name",))
    for job in jobs:
        state = f"{job.state} ({job.reason})" if job.state == "failed" else str(job.state)
        made, done = clock(job.created_at), f"{job.done:.0%}"
        table.add_row(job.id, job.kind, state, done, _left(job), made, escape(job.name))
    return table


def close_table(heads: Sequence[str], wrapped: Collection[str]) -> Table:
    """Columns with a blank between them, of which only some may break their lines."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, no_wrap=head not in wrapped, overflow="fold")
    return table


def waits(job: JobView) -> str:
    """Where a job waits, until about when and why: "place 3, about 20:15, …"; "" if it does not."""
    place = f"place {job.queue_position}" if job.queue_position is not None else ""
    start = f"about {clock(job.starts_at)}" if job.starts_at is not None else ""
    return ", ".join(part for part in (place, start, job.waits_message) if part)


def clock(at: datetime) -> str:
    """A time of day here, with the date unless it is today."""
    local = at.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return f"{local:%H:%M}" if today else f"{local:%m-%d %H:%M}"


def _numbers(found: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    metrics, cost = found.get("metrics", {}), found.get("cost", {})
    return [
        *(_number(metrics.get(name), "{:.1f}") for name in names),
        _number(cost.get("parameters"), "{:,.0f}"),
        _number(cost.get("gflops"), "{:.2f}"),
        _number(cost.get("latency_ms"), "{:.1f} ms"),
    ]


def _number(value: object, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "-"


def _event(line: MetricLine) -> str | None:
    """What is worth a line of its own: stages and validations."""
    if line.type == "stage":
        return line.message or None
    if line.type == "validation" and isinstance(line.metrics.get("AP"), int | float):
        numbers = {name: line.metrics.get(name) for name in CROWDHUMAN_METRICS}
        known = [f"{k} {v:.1f}" for k, v in numbers.items() if isinstance(v, int | float)]
        return f"{line.variant}, epoch {line.epoch:g}: {', '.join(known)}"
    return None


def _doing(title: str, job: JobView) -> str:
    if job.state == "queued" and job.queue_position is not None:
        start = f", about {clock(job.starts_at)}" if job.starts_at is not None else ""
        return f"{title}: queued, place {job.queue_position}{start}"
    if job.state == "running" and job.kind == "study":
        return f"{title}: {job.progress.get('message', 'running')}"
    variant, epoch = job.progress.get("variant"), job.progress.get("epoch")
    if job.state != "running" or not variant:
        return f"{title}: {job.state}"
    return f"{title}: {variant}, epoch {float(epoch or 0):.1f}"


def _left(job: JobView) -> str:
    if job.eta_s is None:
        return ""
    minutes, seconds = divmod(round(job.eta_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
