"""`python -m pgd_core.datasets`: writes the demo data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pgd_core.datasets.digits import write_digit_scenes
from pgd_core.errors import PgdError


def main(arguments: Sequence[str] | None = None) -> int:
    """The process's exit code: 0 done, 2 the arguments or the surroundings do not allow it."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except PgdError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pgd_core.datasets")
    commands = parser.add_subparsers(required=True)

    digits = commands.add_parser("digits", help="write scenes of handwritten digits")
    digits.add_argument("folder", type=Path)
    digits.add_argument("--images", type=int, default=1200)
    digits.add_argument("--val-images", type=int, default=200)
    digits.add_argument("--size", type=int, default=160, help="pixels, both sides")
    digits.add_argument("--seed", type=int, default=0)
    digits.set_defaults(command=_digits)
    return parser


def _digits(parsed: argparse.Namespace) -> int:
    files = write_digit_scenes(
        parsed.folder, parsed.images, parsed.val_images, parsed.size, parsed.seed
    )
    sys.stdout.write(f"{files.train_annotations}\n{files.val_annotations}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
