"""Checks a COCO or CrowdHuman data set from people we do not trust; reports all that is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pgd_core.datasets.annotations import Split, check_annotations
from pgd_core.datasets.boxes import ImageRow
from pgd_core.datasets.layout import DatasetFiles
from pgd_core.datasets.odgt import is_odgt
from pgd_core.datasets.odgt_check import check_odgt
from pgd_core.datasets.pictures import PictureFacts, PictureLimits, read_pictures
from pgd_core.datasets.report import (
    MAX_EXAMPLES,
    Code,
    DatasetReport,
    Findings,
    SharedPicture,
    shown,
)

__all__ = ["DatasetFiles", "DatasetLimits", "DatasetReport", "check_dataset"]

Progress = Callable[[int, int], None]  # (pictures read, pictures in all)
ShownSplit = tuple[Split, Path, Set[str]]  # with its image folder and the files that decode


@dataclass(frozen=True)
class DatasetLimits:
    annotation_bytes: int = 2**30  # each file; COCO 2017's largest has 0.45 x 10⁹
    pictures: PictureLimits = field(default_factory=PictureLimits)


def check_dataset(
    files: DatasetFiles,
    progress: Progress | None = None,
    limits: DatasetLimits | None = None,
    sheet: Path | None = None,  # where a JPEG of some pictures with their boxes goes
) -> DatasetReport:
    """All faults of a data set with counts of what it holds; never raises for what is in it."""
    limits = limits or DatasetLimits()
    findings = Findings()
    digest = hashlib.sha256()
    train = _read_split("train", files.train_annotations, limits, digest, findings)
    val = _read_split("val", files.val_annotations, limits, digest, findings)
    _check_same_format(files, findings)
    _check_same_classes(train, val, findings)

    hashes: dict[str, dict[str, str]] = {}
    seen: list[ShownSplit] = []
    total, done = len(train.file_names()) + len(val.file_names()), 0
    for split, folder in ((train, files.train_images), (val, files.val_images)):
        tell = _after(progress, done, total)
        facts = read_pictures(folder, split.file_names(), limits.pictures, tell)
        done += len(facts)
        _add_to_digest(digest, split.name, facts)
        split.see_pictures(facts, findings)
        hashes[split.name] = _check_pictures(split, facts, findings)
        seen.append((split, folder, {name for name, fact in facts.items() if not fact.code}))
    shared = _check_overlap(hashes["train"], hashes["val"], findings)
    if sheet:
        from pgd_core.datasets.contact_sheet import write_contact_sheet  # numpy, to draw

        write_contact_sheet(sheet, seen)

    errors = findings.errors()
    return DatasetReport(
        usable=not errors,
        errors=errors,
        warnings=findings.warnings(),
        classes=train.class_names(),
        train=train.report(),
        val=val.report(),
        shared_pictures=len(shared),
        shared_examples=tuple(shared[:MAX_EXAMPLES]),
        sha256=digest.hexdigest(),
    )


def _read_split(
    name: str, path: Path, limits: DatasetLimits, digest: hashlib._Hash, findings: Findings
) -> Split:
    try:
        with path.open("rb") as file:
            content = file.read(limits.annotation_bytes + 1)
    except OSError as error:
        message = f"the {name} annotations cannot be read ({error.strerror}): {path.name}"
        findings.add(Code.FILE_UNREADABLE, f"{name}:", message)
        return Split(name)
    if len(content) > limits.annotation_bytes:
        message = (
            f"the {name} annotations exceed {limits.annotation_bytes} bytes: "
            "leave out segmentation, or split the data set"
        )
        findings.add(Code.FILE_TOO_LARGE, f"{name}:", message)
        return Split(name)
    digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    if is_odgt(path):
        return check_odgt(name, content, _refuse_constant, findings)
    try:
        parsed: Any = json.loads(content.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        findings.add(
            Code.NOT_JSON, f"{name}:", f"the {name} annotations are no strict JSON: {reason}"
        )
        return Split(name)
    return check_annotations(name, parsed, findings)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number: every number must be finite")


def _check_same_format(files: DatasetFiles, findings: Findings) -> None:
    names = [path.name for path in (files.train_annotations, files.val_annotations)]
    if is_odgt(files.train_annotations) != is_odgt(files.val_annotations):
        message = (
            f"the train annotations are {shown(names[0])} and those of val {shown(names[1])}: "
            "give two .odgt files for CrowdHuman, or two of COCO's"
        )
        findings.add(Code.FORMATS_DIFFER, "val:", message)


def _check_same_classes(train: Split, val: Split, findings: Findings) -> None:
    if not train.classes or not val.classes:  # reported already
        return
    for class_id in sorted(train.classes.keys() | val.classes.keys()):
        names = [
            shown(split.classes[class_id]) if class_id in split.classes else "missing"
            for split in (train, val)
        ]
        if names[0] != names[1]:
            message = (
                f"class id {class_id} is {names[0]} in train and {names[1]} in val: "
                "list the same classes with the same ids in both"
            )
            findings.add(Code.CLASSES_DIFFER, "val:/categories", message)


def _after(progress: Progress | None, before: int, total: int) -> Callable[[int], None] | None:
    """Progress of one split told as progress of both."""
    return (lambda read: progress(before + read, total)) if progress else None


def _add_to_digest(digest: hashlib._Hash, split: str, facts: Mapping[str, PictureFacts]) -> None:
    for name in sorted(facts):
        digest.update(f"{split} {name!r} {facts[name].sha256}\n".encode())


def _check_pictures(
    split: Split, facts: Mapping[str, PictureFacts], findings: Findings
) -> dict[str, str]:
    """The split's pictures by content hash, the first file of each."""
    first_with: dict[str, str] = {}  # file name by content hash
    for row in split.images.values():
        fact = facts[row.file_name]
        if fact.code:
            findings.add(fact.code, f"{row.pointer}/file_name", fact.message)
        else:
            _check_size(row, fact, findings)
        if not fact.sha256:
            continue
        if fact.sha256 in first_with:
            message = (
                f"{shown(row.file_name)} has the same bytes as {shown(first_with[fact.sha256])} "
                f"in {split.name}: it counts twice"
            )
            findings.add(Code.PICTURE_REPEATED, f"{row.pointer}/file_name", message)
        first_with.setdefault(fact.sha256, row.file_name)
    return first_with


def _check_size(row: ImageRow, fact: PictureFacts, findings: Findings) -> None:
    """The stated size may be the stored one or, with an EXIF turn, the one seen."""
    stated, stored = (row.width, row.height), (fact.width, fact.height)
    turned = fact.seen_size()
    if stated not in (stored, turned):
        message = (
            f"{shown(row.file_name)} is stated as {stated[0]} x {stated[1]} "
            f"and decodes as {stored[0]} x {stored[1]} pixels: correct its width and height"
        )
        findings.add(Code.PICTURE_SIZE_DIFFERS, f"{row.pointer}/width", message)
    if fact.orientation != 1:
        message = (
            f"{shown(row.file_name)} carries EXIF orientation {fact.orientation} and is trained on "
            f"turned, as {turned[0]} x {turned[1]}: make sure its boxes are drawn that way, "
            "or save it upright without the tag"
        )
        findings.add(Code.EXIF_ORIENTATION, row.pointer, message)


def _check_overlap(
    train: Mapping[str, str], val: Mapping[str, str], findings: Findings
) -> list[SharedPicture]:
    """The val pictures whose bytes are in train too."""
    shared = [
        SharedPicture(train=train[sha256], val=name)
        for sha256, name in val.items()
        if sha256 in train
    ]
    if shared and len(shared) == len(val):
        message = "every val picture is a training picture too: AP would measure memory"
        findings.add(Code.VALIDATION_IS_TRAINING, "val:/images", message)
    elif shared:
        message = f"{len(shared)} of {len(val)} val pictures are training pictures too: AP flatters"
        findings.add(Code.SPLITS_OVERLAP, "val:/images", message)
    return shared
