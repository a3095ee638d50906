"""Which paths of the server's disk a caller may name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.dataset_requests import NewDataset
from pgd_core.errors import FieldProblem, Forbidden, InvalidSpec

PARTS = ("train_annotations", "train_images", "val_annotations", "val_images")


@dataclass(frozen=True)
class DatasetPaths:
    """The four parts of a data set, resolved and inside the allowed roots."""

    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str


def dataset_paths(asked: NewDataset, roots: Sequence[Path]) -> DatasetPaths:
    """Where the data set lies; Forbidden outside the roots, InvalidSpec where parts are missing.

    What lies outside is refused before anything of it is looked at, and every symbolic link is
    followed first.
    """

    def field(part: str) -> str:
        return "/folder" if asked.folder else f"/{part}"

    resolved = {
        part: _inside(path, field(part), roots) for part, path in _named(asked, roots).items()
    }
    problems = tuple(
        FieldProblem(field(part), f"{path} is not a {kind}")
        for part, path in resolved.items()
        if not _exists(path, kind := "file" if part.endswith("annotations") else "folder")
    )
    if problems:
        raise InvalidSpec("; ".join(p.message for p in problems), problems)
    return DatasetPaths(**{part: str(path) for part, path in resolved.items()})


def _named(asked: NewDataset, roots: Sequence[Path]) -> dict[str, Path]:
    if asked.folder is None:
        return {part: Path(getattr(asked, part)) for part in PARTS}
    folder = Path(asked.folder)
    suffix = _suffix(folder, roots)
    names = (f"train{suffix}", "train", f"val{suffix}", "val")
    return {part: folder / name for part, name in zip(PARTS, names, strict=True)}


def _suffix(folder: Path, roots: Sequence[Path]) -> str:
    """Of the annotation files: CrowdHuman's where its are there and COCO's are not."""
    for suffix in (".json", ".odgt"):
        if _exists(_inside(folder / f"train{suffix}", "/folder", roots), "file"):
            return suffix
    return ".json"


def _inside(path: Path, pointer: str, roots: Sequence[Path]) -> Path:
    if not path.is_absolute():
        problem = FieldProblem(pointer, "not an absolute path")
        raise InvalidSpec(f"{path} is not an absolute path on the server", (problem,))
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        problem = FieldProblem(pointer, "cannot be resolved")
        raise InvalidSpec(f"{path} cannot be resolved", (problem,)) from error
    if any(resolved.is_relative_to(root.resolve()) for root in roots):
        return resolved
    allowed = ", ".join(str(root) for root in roots) or "no folder"
    raise Forbidden(
        f"{path} is outside what this server may read: {allowed} (PGD_DATASET_ROOTS, or "
        "pgd up --dataset-root)"
    )


def _exists(path: Path, kind: str) -> bool:
    try:
        return path.is_file() if kind == "file" else path.is_dir()
    except OSError:  # such as a name that is too long
        return False
