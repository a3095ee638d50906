"""`python -m migrations`."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, inspect

from migrations.__main__ import main
from tests.servers import postgres_url


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PGD_DATA_FOLDER", str(tmp_path / "data"))
    return tmp_path / "data"


def test_the_embedded_database_is_made_and_its_folder_with_it(folder, capsys):
    assert main() == 0
    assert (folder / "pgd.sqlite").is_file()
    assert "newest schema" in capsys.readouterr().out


def test_a_servers_database_is_migrated_and_a_second_time_is_no_harm(monkeypatch, folder):
    url = postgres_url()
    monkeypatch.setenv("PGD_DATABASE_URL", url)

    assert main() == 0
    assert main() == 0
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    assert inspect(engine).has_table("jobs")
    engine.dispose()
    assert not folder.exists()


def test_a_database_that_does_not_answer_is_told_without_its_password(monkeypatch, capsys):
    monkeypatch.setenv("PGD_DATABASE_URL", "postgresql://pgd:secret@127.0.0.1:1/pgd")

    assert main() == 1
    said = capsys.readouterr().err
    assert "cannot be migrated" in said
    assert "secret" not in said
