"""A part of a data set as a zip that is written while it is read: no file on the way."""

from __future__ import annotations

import json
import zipfile
from typing import IO

from pgd_core.datasets.layout import CocoSplit, DatasetFiles
from pgd_core.datasets.pictures import picture_bytes
from pgd_core.datasets.subset import Subset, chosen_splits

_AT = (1980, 1, 1, 0, 0, 0)  # so that the same question has the same bytes as its answer


def write_subset_zip(
    files: DatasetFiles,  # of a data set that `check_dataset` found usable
    out: IO[bytes],  # need not be able to seek
    subset: Subset,
) -> None:
    """train.json, train/, val.json and val/, as `write_subset` writes them.

    InvalidSpec for what cannot be had, before a byte is written; DatasetUnusable in the middle,
    where a picture is gone or has become a link that leads out.
    """
    train, val = chosen_splits(files, subset)
    with zipfile.ZipFile(out, "w") as archive:
        for name, split, folder in (
            ("train", train, files.train_images),
            ("val", val, files.val_images),
        ):
            content = json.dumps(split.content()).encode()
            archive.writestr(_member(f"{name}.json", zipfile.ZIP_DEFLATED), content)
            for picture in _pictures(split):
                content = picture_bytes(folder, picture)
                archive.writestr(_member(f"{name}/{picture}", zipfile.ZIP_STORED), content)


def _pictures(split: CocoSplit) -> list[str]:
    """Each file once."""
    return list(dict.fromkeys(image["file_name"] for image in split.images))


def _member(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _AT)
    info.compress_type = compression
    return info
