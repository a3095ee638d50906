"""The Python of docs/client.md runs, one block after another."""

from __future__ import annotations

import re
from pathlib import Path

from pgd_core.jobs.job import Artifact, Reason
from pgd_core.jobs.machine import Offer, Priority
from pgd_core.jobs.run import LOG_FILE
from tests.api.conftest import CLASSES, LEASE

PAGE = Path(__file__).parents[3] / "docs/client.md"


def check_at_once(world, monkeypatch) -> None:
    """Data sets and teachers are ready as soon as they are there: no reconciler runs."""
    library = world.services.library
    add_dataset, add_teacher = library.add_dataset, library.add_teacher

    def dataset(*arguments, **named):
        added = add_dataset(*arguments, **named)
        library.dataset_checked(added.id, usable=True, report={}, sha256="0", classes=CLASSES)
        return added

    def teacher(*arguments, **named):
        added = add_teacher(*arguments, **named)
        if named.get("upload"):
            library.teacher_checked(added.id, key="teachers/1", sha256="0")
        return added

    monkeypatch.setattr(library, "add_dataset", dataset)
    monkeypatch.setattr(library, "add_teacher", teacher)


def work_at_once(world, monkeypatch) -> None:
    """Every job succeeds as soon as it is submitted, but for those of class low."""
    services = world.services
    submit = services.jobs.submit

    def and_work(spec, placement, **named):
        job = submit(spec, placement, **named)
        if placement.priority is Priority.LOW:
            return job
        taken = services.jobs.claim(Offer("gpu-1", "default", world.devices), LEASE)
        services.jobs.started(taken[1])
        log = services.attempt_folder(job.id, 1) / LOG_FILE
        log.parent.mkdir(parents=True)
        log.write_text("done\n")
        source = world.settings.data_folder / "weights"
        source.write_bytes(b"weights")
        key, name = f"artifacts/{job.id}/0", "student.safetensors"
        size, sha256 = services.files.put(key, source)
        artifact = Artifact(job.id, 1, name, size, sha256, key, "application/octet-stream")
        return services.jobs.finish(taken[1], Reason.COMPLETED, artifacts=[artifact])

    monkeypatch.setattr(services.jobs, "submit", and_work)


def test_every_block_runs(world, url, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    world.devices = world.worker("gpu-1").devices[:1]
    check_at_once(world, monkeypatch)
    work_at_once(world, monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("big.pth").write_bytes(b"weights")
    names = {"url": url, "folder": world.folder()}

    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)

    names["client"].close()
    said = capsys.readouterr().out
    assert len(blocks) >= 7
    assert Path("student.safetensors").read_bytes() == b"weights"
    assert "422 invalid_request" in said
    assert names["job"].state == "succeeded"
    assert "mira" in said
