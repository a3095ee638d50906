"""Bringing a database to the newest schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

import migrations
from pgd_core.store.engine import open_engine, writing

_ADVISORY_LOCK = 7_407_315  # any number, the same in every process


def migrate(url: str) -> None:
    """Run the migrations that are missing; processes that start together take turns."""
    engine = open_engine(url)
    try:
        # On SQLite the transaction itself is the lock.
        with writing(engine) as session:
            if engine.dialect.name == "postgresql":
                session.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            config = alembic_config()
            config.attributes["connection"] = session.connection()
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Alembic's configuration; no alembic.ini, so the working directory does not matter."""
    config = Config()
    folder = Path(migrations.__path__[0])
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
