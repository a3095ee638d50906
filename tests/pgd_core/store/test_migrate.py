from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from pgd_core.store import SqlLibraryStore, migrate, open_engine
from pgd_core.store.engine import writing
from pgd_core.store.migrate import alembic_config
from pgd_core.store.tables import Base
from tests.servers import postgres_url


def test_the_migrations_build_exactly_the_tables_of_the_models(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_again_keeps_what_is_there(engine, jobs, spec):
    job = jobs.submit(spec)

    migrate(engine.url.render_as_string(hide_password=False))

    assert jobs.get(job.id) == job


def test_processes_that_start_together_migrate_once(tmp_path):
    for url in (f"sqlite:///{tmp_path / 'new.sqlite'}", postgres_url()):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(_migrate_alone, [url] * 4))


def test_the_working_directory_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    migrate(f"sqlite:///{tmp_path / 'new.sqlite'}")


def test_downgrading_leaves_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    migrate(url)
    engine = open_engine(url)
    config = alembic_config()
    with writing(engine) as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "base")

    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_what_was_there_before_there_were_keys_belongs_to_the_default_team(tmp_path):
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    engine = open_engine(url)
    config = alembic_config()
    with writing(engine) as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, "0003")
        session.execute(
            text(
                "INSERT INTO uploads (id, filename, size, sha256, key, created_at) "
                "VALUES ('1', 't.pth', 4, '', 'uploads/1', CURRENT_TIMESTAMP)"
            )
        )

    migrate(url)

    assert SqlLibraryStore(engine).upload("1").team == "default"
    engine.dispose()


def test_a_teacher_of_an_older_service_was_never_recognised_and_an_older_one_knows_no_unconfirmed(
    tmp_path,
):
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    engine = open_engine(url)
    config = alembic_config()
    with writing(engine) as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, "0004")
        session.execute(
            text(
                "INSERT INTO teachers (id, name, state, model, classes, key, sha256, message, "
                "created_at) VALUES ('1', 't', 'ready', '{}', '[]', 'k', '', '', CURRENT_TIMESTAMP)"
            )
        )
    migrate(url)
    library = SqlLibraryStore(engine)
    old, new = library.teacher("1"), library.add_teacher("new")
    library.teacher_checked(new.id, key="k", recognised={"detector": "fcos"})
    with writing(engine) as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "0004")
        states = dict(session.execute(text("SELECT name, state FROM teachers")).all())

    assert old.recognised is None
    assert states == {"t": "ready", "new": "rejected"}
    engine.dispose()


def _migrate_alone(url: str) -> None:
    migrate(url)
