"""Things that a caller may know of: another team's is answered as one that does not exist."""

from __future__ import annotations

from typing import Protocol, TypeVar

from api.caller import Caller
from api.services import Services
from pgd_core.errors import NotFound
from pgd_core.jobs.job import Dataset, Job, Teacher, Upload
from pgd_core.jobs.keys import Key
from pgd_core.jobs.models import Model
from pgd_core.jobs.unfinished import UnfinishedUpload
from pgd_core.jobs.webhooks import Webhook


class Owned(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def team(self) -> str: ...


Thing = TypeVar("Thing", bound=Owned)


def visible_job(services: Services, caller: Caller, job_id: str) -> Job:
    """The job; NotFound for another team's."""
    return _own(caller, services.jobs.get(job_id), "job")


def visible_dataset(services: Services, caller: Caller, dataset_id: str) -> Dataset:
    """The data set; NotFound for another team's."""
    return _own(caller, services.library.dataset(dataset_id), "data set")


def visible_teacher(services: Services, caller: Caller, teacher_id: str) -> Teacher:
    """The teacher; NotFound for another team's."""
    return _own(caller, services.library.teacher(teacher_id), "teacher")


def visible_upload(services: Services, caller: Caller, upload_id: str) -> Upload:
    """The upload; NotFound for another team's."""
    return _own(caller, services.library.upload(upload_id), "upload")


def visible_unfinished(services: Services, caller: Caller, upload_id: str) -> UnfinishedUpload:
    """The upload on its way; NotFound for another team's."""
    return _own(caller, services.unfinished.get(upload_id), "unfinished upload")


def visible_key(services: Services, caller: Caller, key_id: str) -> Key:
    """The key; NotFound for another team's."""
    return _own(caller, services.keys.key(key_id), "key")


def visible_model(services: Services, caller: Caller, model_id: str) -> Model:
    """The model; NotFound for another team's."""
    return _own(caller, services.models.model(model_id), "model")


def visible_webhook(services: Services, caller: Caller, webhook_id: str) -> Webhook:
    """The webhook; NotFound for another team's."""
    return _own(caller, services.webhooks.webhook(webhook_id), "webhook")


def _own(caller: Caller, thing: Thing, noun: str) -> Thing:
    if not caller.sees(thing.team):
        raise NotFound(f"no {noun} {thing.id}")
    caller.trail.team = thing.team
    return thing
