"""`python -m migrations`: brings the database of `PGD_DATABASE_URL` to the newest schema.

Workers and the reconciler do the same when they start; a deployment runs it first, so that a
migration that fails stops the upgrade before anything serves.
"""

from __future__ import annotations

import sys

from sqlalchemy.exc import OperationalError

from pgd_core.settings import Settings
from pgd_core.store import migrate


def main() -> int:
    """Composition root; returns the exit code."""
    settings = Settings()
    if not settings.database_url:
        settings.data_folder.mkdir(parents=True, exist_ok=True)
    try:
        migrate(settings.resolved_database_url())
    except OperationalError as error:
        sys.stderr.write(f"the database cannot be migrated: {error.orig}\n")
        return 1
    sys.stdout.write("the database is at the newest schema\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
