"""`python -m pgd_core.datasets`: unpacks, checks or divides a data set, or writes a demo one.

`unpack` and `check` are meant to run as processes of their own: they read files from people we do
not trust.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pgd_core.datasets.archive_members import ArchiveLimits
from pgd_core.datasets.archives import Unpacked, unpack
from pgd_core.datasets.coco import DatasetReport, check_dataset
from pgd_core.datasets.layout import DatasetFiles, write_text_whole
from pgd_core.datasets.layout_search import find_layout
from pgd_core.datasets.subset import Subset, write_subset
from pgd_core.datasets.subset_zip import write_subset_zip
from pgd_core.errors import DatasetUnusable, InvalidSpec, PgdError

MAX_CPU_S = 4 * 3600
MAX_REPORT_BYTES = 2**28
_TELL_EVERY_S = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done or usable, 1 not usable, 2 the arguments or surroundings are wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except PgdError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pgd_core.datasets")
    commands = parser.add_subparsers(required=True)
    _add_commands(commands)
    _add_demos(commands)
    return parser


def _add_commands(commands: Any) -> None:
    check = commands.add_parser("check", help="report all faults of a COCO or CrowdHuman data set")
    _add_parts(check)
    check.add_argument("--report", type=Path, help="where the report goes as JSON")
    check.add_argument("--sheet", type=Path, help="where a JPEG of pictures with boxes goes")
    check.add_argument("--progress", type=Path, help="where the share that is done goes, at times")
    check.add_argument("--memory-gb", type=float, default=8, help="address space; 0: no limit")
    check.set_defaults(command=_check)

    part = commands.add_parser("subset", help="write a part of a data set as a new one, as COCO's")
    part.add_argument("source", type=Path, help="a folder that holds a data set, as people pack it")
    part.add_argument("folder", type=Path, help="must not exist")
    part.add_argument("--class", action="append", default=[], dest="classes", metavar="NAME")
    part.add_argument("--images", type=int, help="of train, at most")
    part.add_argument("--val-images", type=int, help="at most")
    part.add_argument("--seed", type=int, default=0, help="of which pictures")
    part.set_defaults(command=_subset)

    stream = commands.add_parser("subset-zip", help="the same as a zip on standard output")
    _add_parts(stream)
    stream.add_argument("--wanted", type=json.loads, default={}, help="`Subset` as JSON")
    stream.add_argument("--memory-gb", type=float, default=6, help="address space; 0: no limit")
    stream.set_defaults(command=_subset_zip)

    unpacking = commands.add_parser("unpack", help="unpack a zip or tar that holds a data set")
    unpacking.add_argument("archive", type=Path)
    unpacking.add_argument("folder", type=Path, help="must not exist")
    unpacking.add_argument("--report", type=Path, help="where the parts' names go as JSON")
    unpacking.add_argument("--memory-gb", type=float, default=4, help="address space; 0: no limit")
    unpacking.add_argument("--room", type=int, metavar="BYTES", help="that may be written at most")
    unpacking.set_defaults(command=_unpack)


def _add_parts(parser: argparse.ArgumentParser) -> None:
    for part in ("train_annotations", "train_images", "val_annotations", "val_images"):
        parser.add_argument(part, type=Path)


def _files(parsed: argparse.Namespace) -> DatasetFiles:
    return DatasetFiles(
        parsed.train_annotations, parsed.train_images, parsed.val_annotations, parsed.val_images
    )


def _add_demos(commands: Any) -> None:
    digits = commands.add_parser("digits", help="write scenes of handwritten digits")
    digits.add_argument("folder", type=Path)
    digits.add_argument("--images", type=int, default=1200)
    digits.add_argument("--val-images", type=int, default=200)
    digits.add_argument("--size", type=int, default=160, help="pixels, both sides")
    digits.add_argument("--seed", type=int, default=0)
    digits.set_defaults(command=_digits)

    crowd = commands.add_parser("crowd", help="write crowded scenes of digits, as CrowdHuman's")
    crowd.add_argument("folder", type=Path)
    crowd.add_argument("--images", type=int, default=600)
    crowd.add_argument("--val-images", type=int, default=100)
    crowd.add_argument("--size", type=int, default=160, help="pixels, both sides")
    crowd.add_argument("--seed", type=int, default=0)
    crowd.set_defaults(command=_crowd)

    trees = commands.add_parser("trees", help="write tiles of aerial photographs of trees")
    trees.add_argument("folder", type=Path)
    trees.add_argument("--wheel", type=Path, help="deepforest's wheel, if it is here already")
    trees.add_argument("--size", type=int, default=256, help="pixels, a tile's longer side")
    trees.set_defaults(command=_trees)


def _unpack(parsed: argparse.Namespace) -> int:
    _refuse_missing_folder("--report", parsed.report)
    limits = ArchiveLimits(room_bytes=parsed.room)
    _limit_process(int(parsed.memory_gb * 2**30), limits.file_bytes)
    try:
        unpacked = unpack(parsed.archive, parsed.folder, limits)
    except DatasetUnusable as error:
        unpacked = Unpacked(usable=False, message=error.message)
    text = unpacked.model_dump_json(indent=2)
    if parsed.report:
        write_text_whole(parsed.report, text)
    sys.stdout.write(text + "\n")
    return 0 if unpacked.usable else 1


def _check(parsed: argparse.Namespace) -> int:
    _refuse_missing_folder("--report", parsed.report)
    _refuse_missing_folder("--sheet", parsed.sheet)
    _limit_process(int(parsed.memory_gb * 2**30), MAX_REPORT_BYTES)
    tell = _telling(parsed.progress) if parsed.progress else None
    report = check_dataset(_files(parsed), tell, sheet=parsed.sheet)
    if parsed.report:
        write_text_whole(parsed.report, report.model_dump_json(indent=2))
    sys.stdout.write(_summary(report))
    return 0 if report.usable else 1


def _telling(path: Path) -> Callable[[int, int], None]:
    """Writes the share of the pictures that were read, twice a second at most."""
    next_at = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at or done == total:
            next_at = time.monotonic() + _TELL_EVERY_S
            write_text_whole(path, json.dumps(done / total))

    return tell


def _refuse_missing_folder(option: str, path: Path | None) -> None:
    if path and not path.parent.is_dir():
        raise InvalidSpec(f"{option} {path}: its folder does not exist; create it first")


def _subset(parsed: argparse.Namespace) -> int:
    wanted = Subset(tuple(parsed.classes), parsed.images, parsed.val_images, parsed.seed)
    files = write_subset(find_layout(parsed.source), parsed.folder, wanted)
    sys.stdout.write(f"{files.train_annotations}\n{files.val_annotations}\n")
    return 0


def _subset_zip(parsed: argparse.Namespace) -> int:
    _limit_process(int(parsed.memory_gb * 2**30), MAX_REPORT_BYTES)
    classes = tuple(parsed.wanted.get("classes", ()))
    wanted = Subset(**(parsed.wanted | {"classes": classes}))
    write_subset_zip(_files(parsed), sys.stdout.buffer, wanted)
    return 0


def _limit_process(memory_bytes: int, file_bytes: int) -> None:
    """Bounds what a hostile file can cost, where the system has such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: MAX_CPU_S,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_AS: memory_bytes or resource.RLIM_INFINITY,
    }
    for kind, limit in wanted.items():
        soft, hard = resource.getrlimit(kind)
        known = [each for each in (soft, hard, limit) if each != resource.RLIM_INFINITY]
        with contextlib.suppress(OSError, ValueError):  # macOS refuses some
            resource.setrlimit(kind, (min(known, default=resource.RLIM_INFINITY), hard))


def _summary(report: DatasetReport) -> str:
    lines = [
        f"{name}: {split.images} images, {split.annotations} annotations"
        for name, split in (("train", report.train), ("val", report.val))
    ]
    lines.append(f"{len(report.classes)} classes: {', '.join(report.classes[:20])}")
    for kind, findings in (("error", report.errors), ("warning", report.warnings)):
        lines += [
            f"{kind} {found.code} x {found.count}: {found.pointer}: {found.message}"
            for found in findings
        ]
    lines.append("usable" if report.usable else "NOT usable")
    return "\n".join(lines).encode("ascii", "backslashreplace").decode() + "\n"


def _digits(parsed: argparse.Namespace) -> int:
    from pgd_core.datasets.digits import write_digit_scenes  # numpy is only in the worker

    files = write_digit_scenes(
        parsed.folder, parsed.images, parsed.val_images, parsed.size, parsed.seed
    )
    sys.stdout.write(f"{files.train_annotations}\n{files.val_annotations}\n")
    return 0


def _crowd(parsed: argparse.Namespace) -> int:
    from pgd_core.datasets.crowd import write_crowd_scenes  # numpy is only in the worker

    files = write_crowd_scenes(
        parsed.folder, parsed.images, parsed.val_images, parsed.size, parsed.seed
    )
    sys.stdout.write(f"{files.train_annotations}\n{files.val_annotations}\n")
    return 0


def _trees(parsed: argparse.Namespace) -> int:
    from pgd_core.datasets.trees import write_tree_tiles  # numpy is only in the worker

    files = write_tree_tiles(parsed.folder, parsed.wheel, parsed.size)
    sys.stdout.write(f"{files.train_annotations}\n{files.val_annotations}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
