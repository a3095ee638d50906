"""The database: jobs and their history, the queue, teams, workers, data sets, teachers, uploads,
keys and what was done with them, models, webhooks."""

from pgd_core.store.answers import SqlAnswerStore
from pgd_core.store.audit import SqlAuditStore
from pgd_core.store.engine import open_engine
from pgd_core.store.housekeeping import SqlHousekeeping
from pgd_core.store.jobs import SqlJobStore
from pgd_core.store.keys import SqlKeyStore
from pgd_core.store.library import SqlLibraryStore
from pgd_core.store.migrate import migrate
from pgd_core.store.models import SqlModelStore
from pgd_core.store.queue import SqlQueue
from pgd_core.store.studies import SqlStudyStore
from pgd_core.store.teams import SqlTeamStore
from pgd_core.store.unfinished import SqlUnfinishedStore
from pgd_core.store.webhooks import SqlWebhookStore
from pgd_core.store.workers import SqlWorkerStore

__all__ = [
    "SqlAnswerStore",
    "SqlAuditStore",
    "SqlHousekeeping",
    "SqlJobStore",
    "SqlKeyStore",
    "SqlLibraryStore",
    "SqlModelStore",
    "SqlQueue",
    "SqlStudyStore",
    "SqlTeamStore",
    "SqlUnfinishedStore",
    "SqlWebhookStore",
    "SqlWorkerStore",
    "migrate",
    "open_engine",
]
