"""Is an uploaded file the teacher it is declared to be?

`python -m pgd_core.training.teacher_check FILE DECLARATION.json FOLDER`: the declaration is
{"model": DetectorSpec, "classes": [...]}. Leaves FOLDER/check.json {"usable", "message", "sha256"}
and, when usable, FOLDER/teacher.safetensors. Exit status 0 when it came to an answer.

The file comes from outside: run this in a process that can lose nothing (no network, little
memory, an empty folder). It is unpickled with `weights_only` or not at all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import ValidationError
from safetensors.torch import save_file

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.weights import load_whole, read_weights
from pgd_core.errors import InvalidSpec, PgdError, TeacherUnusable
from pgd_core.jobs.spec import DetectorSpec, Strict
from pgd_core.training.checkpoints import sha256_of, write_atomically

CHECK = "check.json"
WEIGHTS = "teacher.safetensors"


class Declaration(Strict):
    """What the user says the file is."""

    model: DetectorSpec
    classes: tuple[str, ...]


def check_teacher(file: Path, declaration: Declaration, folder: Path) -> str:
    """Convert a fitting checkpoint to `folder`/teacher.safetensors; returns its sha256.

    Raises WeightsUnusable for a file that is none, TeacherUnusable for one that does not fit.
    """
    weights = read_weights(file)
    model = build_detector(declaration.model, len(declaration.classes))
    load_whole(model, weights, "the checkpoint", TeacherUnusable)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda tmp: save_file(tensors, tmp))
    return sha256_of(folder / WEIGHTS)


def main() -> int:
    """Check one file."""
    file, declaration, folder = (Path(argument) for argument in sys.argv[1:4])
    answer: dict[str, object]
    try:
        declared = Declaration.model_validate_json(declaration.read_bytes())
        answer = {
            "usable": True,
            "message": "",
            "sha256": check_teacher(file, declared, folder),
        }
    except ValidationError as error:
        message = InvalidSpec(f"the declaration is not valid: {error}").message
        answer = {"usable": False, "message": message, "sha256": ""}
    except PgdError as error:
        answer = {"usable": False, "message": error.message, "sha256": ""}
    write_atomically(folder / CHECK, lambda tmp: tmp.write_text(json.dumps(answer)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
