"""The first operator's key: without one nobody can ask for another.

For `pgd up` it lies in the data folder, 0600, where this user's clients find it. A team's operator
makes it with `pgd keys init`, on a machine that reaches the database: printed by a service as it
starts it would stay in the logs, and whoever reads or collects them would be an operator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from api.client.credentials import offered, write_private
from pgd_core.errors import Unauthenticated
from pgd_core.jobs.keys import ALL_TEAMS, Role
from pgd_core.jobs.protocols import KeyStore
from pgd_core.settings import Settings
from pgd_core.store import SqlKeyStore, migrate, open_engine

FILE = "local.key"
NAME = "local"


class AlreadyThere(Exception):
    """An operator's key is there; the message says what to do."""


def first_key(settings: Settings, name: str, *, another: bool = False) -> str:
    """Make it; its secret. AlreadyThere when one works already, unless another is asked for."""
    if not settings.database_url:
        settings.data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    migrate(settings.resolved_database_url())
    with _key_store(settings) as keys:
        if keys.has_operator() and not another:
            raise AlreadyThere(
                "there is an operator's key; its holder makes others with pgd keys add. If it is "
                "lost: pgd keys init --another, then pgd keys revoke the lost one"
            )
        return keys.create(name, ALL_TEAMS, Role.ADMIN)[1]


@contextlib.contextmanager
def own_key(settings: Settings, port: int, warn: Callable[[str], None]) -> Iterator[None]:
    """While the service runs on the port, this user's clients find its key by themselves."""
    with _key_store(settings) as keys:
        path = local_key(settings.data_folder, keys)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(offered(port, path))
        except OSError as error:
            warn(f"clients will not find the API key: {error}; set PGD_API_KEY to what {path} says")
        yield


def local_key(folder: Path, keys: KeyStore) -> Path:
    """Where the data folder's key lies; a new one where there is none that is an operator's now."""
    path = folder / FILE
    with contextlib.suppress(FileNotFoundError, Unauthenticated):
        if keys.holder(path.read_text(encoding="utf-8").strip()).operator:
            path.chmod(0o600)
            return path
    _, secret = keys.create(NAME, ALL_TEAMS, Role.ADMIN)
    write_private(path, secret + "\n")
    return path


@contextlib.contextmanager
def _key_store(settings: Settings) -> Iterator[KeyStore]:
    engine = open_engine(settings.resolved_database_url())
    try:
        yield SqlKeyStore(engine)
    finally:
        engine.dispose()
