"""The database: jobs, their history, data sets, teachers and uploads."""

from pgd_core.store.engine import open_engine
from pgd_core.store.jobs import SqlJobStore
from pgd_core.store.library import SqlLibraryStore
from pgd_core.store.migrate import migrate
from pgd_core.store.studies import SqlStudyStore

__all__ = ["SqlJobStore", "SqlLibraryStore", "SqlStudyStore", "migrate", "open_engine"]
