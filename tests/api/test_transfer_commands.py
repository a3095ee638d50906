"""`pgd upload`, `pgd download` and their bar."""

from __future__ import annotations

import io
import json

from rich.console import Console

from api.client import transfers, uploads
from api.transfer_bar import transfer_bar


def test_a_file_is_sent_and_its_id_told(world, pgd, tmp_path):
    file = tmp_path / "teacher.pth"
    file.write_bytes(b"weights" * 1000)

    upload_id = pgd("upload", file).strip()
    again = json.loads(pgd("upload", file, "--json"))

    assert world.services.library.upload(upload_id).filename == "teacher.pth"
    assert (again["size"], again["sha256"]) == (
        7000,
        world.services.library.upload(upload_id).sha256,
    )


def test_a_command_goes_on_where_the_one_before_it_ended(world, pgd, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "AT_ONCE_BYTES", 1000)
    monkeypatch.setattr(uploads, "PIECE_BYTES", 30_000)
    monkeypatch.setattr(transfers, "RESUME_AFTER_S", ())
    file = tmp_path / "teacher.pth"
    file.write_bytes(b"weights!" * 10_000)
    settings = world.settings
    full = settings.model_copy(update={"min_free_bytes": 2**60})
    received = world.services.unfinished.received

    def fills_up(*arguments):
        object.__setattr__(world.services, "settings", full)
        return received(*arguments)

    monkeypatch.setattr(world.services.unfinished, "received", fills_up)
    assert "no room" in pgd("upload", file, code=1)
    monkeypatch.undo()
    object.__setattr__(world.services, "settings", settings)
    monkeypatch.setenv("PGD_API_KEY", world.secret)
    monkeypatch.setattr(uploads, "AT_ONCE_BYTES", 1000)
    (begun,) = (world.settings.data_folder / "unfinished").iterdir()
    assert begun.stat().st_size == 30_000

    upload_id = pgd("upload", file).strip()

    assert upload_id == begun.name
    assert not begun.exists()
    events = world.http.get("/v1/audit").json()["items"]
    assert [event["thing"] for event in events] == [f"uploads/{upload_id}"]


def test_a_file_that_is_not_there_is_told(pgd, tmp_path):
    assert "No such file" in pgd("upload", tmp_path / "none", code=1)


def test_the_bar_shows_bytes_and_counts_an_earlier_try_as_done():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with transfer_bar("a [b].pth", console) as told:
        told(2**20, 2**22)
        told(2**22, 2**22)

    assert "a [b].pth" in console.file.getvalue()
    assert "4.0/4.0 MiB" in console.file.getvalue()


def test_without_a_terminal_there_is_no_bar():
    console = Console(file=io.StringIO(), force_terminal=False)
    with transfer_bar("a.pth", console) as told:
        told(1, 2)

    assert console.file.getvalue().strip() == ""
