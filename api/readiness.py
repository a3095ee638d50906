"""Whether the parts that the service leans on answer: each check says what it found, or raises."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import redis
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from pgd_core.files.room import lack_of_room
from pgd_core.files.shares import DataFolder
from pgd_core.jobs.protocols import FileStore
from pgd_core.settings import Settings
from pgd_core.store import SqlWorkerStore
from pgd_core.store.migrate import alembic_config


def readiness_checks(
    settings: Settings, engine: Engine, files: FileStore
) -> dict[str, Callable[[], str]]:
    """The checks of /readyz, by name."""
    folder = DataFolder(settings.data_folder, SqlWorkerStore(engine).shared_folder)
    return {
        "database": lambda: _database(engine),
        "migrations": lambda: _migrations(engine),
        "redis": lambda: _redis(settings.resolved_redis_url()),
        "storage": files.check,
        "folder": lambda: _folder(folder),
        "disk": lambda: _disk(settings.data_folder, settings.min_free_bytes),
    }


def ping_redis(url: str, timeout_s: float = 2.0) -> None:
    """Raise unless a Redis answers at `url`; Celery's redis+socket:// is redis-py's unix://."""
    client = redis.Redis.from_url(
        url.replace("redis+socket://", "unix://", 1),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
    )
    with client:
        client.ping()


def _database(engine: Engine) -> str:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return f"{engine.dialect.name} answers"


def _migrations(engine: Engine) -> str:
    with engine.connect() as connection:
        found = set(MigrationContext.configure(connection).get_current_heads())
    wanted = set(ScriptDirectory.from_config(alembic_config()).get_heads())
    if found != wanted:
        raise RuntimeError(f"the database is at {sorted(found)}, the code at {sorted(wanted)}")
    return f"at {', '.join(sorted(found))}"


def _redis(url: str) -> str:
    ping_redis(url)
    return "answers"


def _folder(folder: DataFolder) -> str:
    problem = folder.trouble()
    if problem:
        raise RuntimeError(problem)
    return "it is the one that all share"


def _disk(folder: Path, min_free_bytes: int) -> str:
    problem = lack_of_room([folder], min_free_bytes)
    if problem:
        raise RuntimeError(problem)
    return f"{shutil.disk_usage(folder).free // 2**20} MiB free"
