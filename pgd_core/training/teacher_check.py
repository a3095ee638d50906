"""Is an uploaded file a teacher, and the one that it is declared to be?

`python -m pgd_core.training.teacher_check FILE DECLARATION.json FOLDER`: the declaration is
{"model": DetectorSpec, "classes": [...]}, and either may be left out. Leaves FOLDER/check.json, a
`TeacherAnswer`, and when the file is usable FOLDER/teacher.safetensors. Exit status 0 when it came
to an answer.

The file comes from outside: run this in a process that can lose nothing (no network, little
memory, an empty folder). It is unpickled with `weights_only` or not at all.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import ValidationError
from safetensors.torch import save_file

from pgd_core.detectors.build import build_detector, detector_config
from pgd_core.detectors.checkpoint import Checkpoint, read_checkpoint
from pgd_core.detectors.old_names import todays_names
from pgd_core.detectors.recognise import recognise
from pgd_core.detectors.stated_config import Config, differences, parsed_config
from pgd_core.detectors.weights import Weights, load_whole
from pgd_core.errors import InvalidSpec, PgdError, TeacherUnusable
from pgd_core.jobs.declared import contradictions, order_contradiction
from pgd_core.jobs.recognised import Recognised, TeacherAnswer
from pgd_core.jobs.spec import DetectorSpec, Strict
from pgd_core.training.checkpoints import sha256_of, write_atomically

CHECK = "check.json"
WEIGHTS = "teacher.safetensors"


class Declaration(Strict):
    """What the user says the file is, as far as the user does."""

    model: DetectorSpec | None = None
    classes: tuple[str, ...] | None = None


def check_teacher(file: Path, declaration: Declaration, folder: Path) -> TeacherAnswer:
    """Converts a fitting checkpoint to `folder`/teacher.safetensors, and says what it found."""
    found: Recognised | None = None
    try:
        if file.is_symlink():
            raise TeacherUnusable(f"{file.name} is a link; send the file itself")
        checkpoint = read_checkpoint(file)
        renamed = todays_names(checkpoint.weights)
        config = parsed_config(checkpoint.config)
        found = _recognised(checkpoint, renamed.weights, config, declaration.model)
        found = found.model_copy(update={"notes": (*renamed.notes, *found.notes)})
        found = _compared_by_name(found, declaration)
        model, classes = _decided(declaration, found)
        _refuse_other_computation(config, model, classes)
        sha256 = _convert(renamed.weights, model, classes, folder)
    except PgdError as error:
        return TeacherAnswer(usable=False, message=error.message, recognised=found)
    undeclared = declaration.model is None or declaration.classes is None
    return TeacherAnswer(usable=True, sha256=sha256, recognised=found, undeclared=undeclared)


def _recognised(
    checkpoint: Checkpoint, weights: Weights, config: Config, declared: DetectorSpec | None
) -> Recognised:
    return recognise(
        weights,
        config,
        class_names=checkpoint.classes,
        timm_name=(declared and declared.backbone.timm_name) or "",
        norm_groups=declared.norm_groups if declared else None,
    )


def _compared_by_name(found: Recognised, declaration: Declaration) -> Recognised:
    """Refuses declared classes in another order than the checkpoint's own; notes other names."""
    there, here = found.class_names, declaration.classes
    if there is None or here is None or there == here or len(there) != len(here):
        return found
    if other_order := order_contradiction(here, found):
        raise TeacherUnusable(other_order)
    note = "the checkpoint's own names of the classes are others than the declared ones"
    return found.model_copy(update={"notes": (*found.notes, note)})


def _decided(declaration: Declaration, found: Recognised) -> tuple[DetectorSpec, int]:
    """(detector, number of classes) to convert to: as declared, or else as recognised."""
    model, classes = declaration.model, declaration.classes
    if model is None:
        if found.model is None or found.classes is None:
            raise TeacherUnusable(
                f"the checkpoint looks like {found.detector} on {found.backbone} and was not "
                f"recognised as a teacher ({'; '.join(found.notes)}); declare its model if it "
                "is one"
            )
        model = found.model
    count = len(classes) if classes is not None else found.classes
    if count is None:
        raise TeacherUnusable("the number of classes was not recognised; declare the classes")
    wrong = "; ".join(problem.message for problem in contradictions(model, count, found))
    if wrong:
        raise TeacherUnusable(
            f"the checkpoint is not what was declared: {wrong}; correct the declaration, or leave "
            "it out to take over what was recognised"
        )
    return model, count


def _refuse_other_computation(config: Config, model: DetectorSpec, classes: int) -> None:
    others = differences(config, detector_config(model, classes))
    if others:
        raise TeacherUnusable(
            f"the checkpoint's own config computes otherwise than the detector built here "
            f"({'; '.join(others[:6])}): its predictions would be wrong; train it with these "
            "settings, or train a teacher here"
        )


def _convert(weights: Weights, spec: DetectorSpec, classes: int, folder: Path) -> str:
    """The sha256 of the new file."""
    model = build_detector(spec, classes)
    load_whole(model, weights, "the checkpoint", TeacherUnusable)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda tmp: save_file(tensors, tmp))
    return sha256_of(folder / WEIGHTS)


def main() -> int:
    """Check one file."""
    file, declaration, folder = (Path(argument) for argument in sys.argv[1:4])
    try:
        declared = Declaration.model_validate_json(declaration.read_bytes())
        answer = check_teacher(file, declared, folder)
    except ValidationError as error:
        message = InvalidSpec(f"the declaration is not valid: {error}").message
        answer = TeacherAnswer(usable=False, message=message)
    text = answer.model_dump_json()
    write_atomically(folder / CHECK, lambda tmp: tmp.write_text(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
