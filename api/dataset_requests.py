"""What the API takes about data sets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from api.requests import ID, NO_CONTROL, Name, PoolOrTeam, QueryModel, ServerPath
from pgd_core.jobs.spec import Strict

S3_URL = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$"
S3Url = Annotated[str, StringConstraints(max_length=1024, pattern=S3_URL)]


class DatasetSource(Strict):
    """Where a data set comes from that is not on the server yet."""

    upload: str | None = Field(None, pattern=ID, description="An upload: a zip or a tar.")
    s3: S3Url | None = Field(
        None, description="s3://BUCKET/PREFIX, below what PGD_DATASET_S3_PREFIXES allows."
    )

    @model_validator(mode="after")
    def _one_source(self) -> DatasetSource:
        if (self.upload is None) == (self.s3 is None):
            raise ValueError("give upload or s3, one of the two")
        return self


class NewDataset(Strict):
    """A source to fetch it from; or what is on the server: a folder with train.json, train/,
    val.json and val/, or the four paths one by one.

    CrowdHuman's annotation files end in .odgt instead.
    """

    name: Name
    team: PoolOrTeam | None = Field(None, description="Whose. Default: the caller's own.")
    source: DatasetSource | None = None
    folder: ServerPath | None = Field(None, description="Absolute path on the server.")
    train_annotations: ServerPath | None = None
    train_images: ServerPath | None = None
    val_annotations: ServerPath | None = None
    val_images: ServerPath | None = None

    @model_validator(mode="after")
    def _one_form(self) -> NewDataset:
        four = [self.train_annotations, self.train_images, self.val_annotations, self.val_images]
        given = [path is not None for path in four]
        forms = [self.source is not None, self.folder is not None, any(given)]
        if sum(forms) > 1:
            raise ValueError("give source, folder or the four paths, only one of them")
        if not any(forms[:2]) and not all(given):
            raise ValueError(
                "give source, folder, or all of train_annotations, train_images, "
                "val_annotations, val_images"
            )
        return self


class SubsetQuery(QueryModel):
    """Which part of a data set; all of it where nothing is said."""

    images: int | None = Field(None, ge=1, le=1_000_000, description="Of train, at most.")
    val_images: int | None = Field(None, ge=1, le=1_000_000, description="Of val, at most.")
    classes: str | None = Field(
        None,
        max_length=20_000,
        pattern=NO_CONTROL,
        description="Names, with commas between: only pictures that show one of them. Class ids "
        "follow this order.",
    )
    seed: int = Field(0, ge=0, le=2**53, description="Of which pictures.")

    def class_names(self) -> tuple[str, ...]:
        """The classes one by one; none: all."""
        return tuple(name.strip() for name in (self.classes or "").split(",") if name.strip())
