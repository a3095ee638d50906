"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from api.completion import job_ids
from api.queue_views import Class

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(help="The job's id.", autocompletion=job_ids)]
TeamName = Annotated[str | None, typer.Option("--team", help="Whose share of GPU time it uses.")]
PoolName = Annotated[str | None, typer.Option("--pool", help="Whose workers run it.")]
Priority = Annotated[
    Class | None, typer.Option(help="A higher class goes first, and may stop a lower one.")
]
Gpus = Annotated[
    int | None, typer.Option(min=1, max=256, help="Of one worker, all of them or none.")
]
MinMemory = Annotated[int | None, typer.Option(min=0, help="Of each GPU, MiB.")]
