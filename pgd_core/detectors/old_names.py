"""Names of tensors as MMDetection 3 has them, from those of its earlier versions and of wrappers.

What was renamed in these five detectors: FCOS's and AutoAssign's three predictors (`fcos_cls`,
`fcos_reg`, `fcos_centerness` until 2.0). ATSS, GFL and DDOD have had one set of names. The order
of the classes changed in 2.0 for softmax heads only; these five are sigmoid, without a background
channel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgd_core.detectors.weights import Weights, some
from pgd_core.errors import TeacherUnusable

_OLD_PREDICTOR = re.compile(r"^bbox_head\.fcos_(cls|reg|centerness)\.")
# MMCV's EMA hook registers a copy of each tensor on the model, its dots replaced. At saving the two
# have changed places: the averaged ones bear the model's names.
_TRAINING_COPY = re.compile(r"^ema_\w+$")
# MMPretrain's wrapper of a timm network, and the one here.
_OF_TIMM = re.compile(r"^backbone\.timm_model\.")
# Which no release of the five detectors reads when it is used.
_NOT_OF_THE_MODEL = ("data_preprocessor.", "loss_")


@dataclass(frozen=True)
class Renamed:
    """The tensors under today's names, and what was done to them."""

    weights: Weights
    notes: tuple[str, ...]


def todays_names(weights: Weights) -> Renamed:
    """Drops what is not of the model and renames the rest; TeacherUnusable where the file holds
    more than one detector."""
    notes = []
    kept = {k: v for k, v in weights.items() if not _TRAINING_COPY.match(k)}
    if len(kept) < len(weights):
        notes.append(
            f"{len(weights) - len(kept)} copies of an averaging hook (ema_…) were left out; the "
            "averaged weights bear the model's own names"
        )
    prefix = _prefix(kept)
    if prefix:
        notes.append(f"the prefix {prefix!r} was taken off")
        kept = {k.removeprefix(prefix): v for k, v in kept.items()}
    kept = {k: v for k, v in kept.items() if not k.startswith(_NOT_OF_THE_MODEL)}
    kept = {_OF_TIMM.sub("backbone.net.", k): v for k, v in kept.items()}
    renamed = {_OLD_PREDICTOR.sub(r"bbox_head.conv_\1.", k): v for k, v in kept.items()}
    if len(renamed) < len(kept):
        raise TeacherUnusable("the checkpoint names a predictor both in the old and in the new way")
    if renamed.keys() != kept.keys():
        notes.append("the predictors' names of MMDetection 1 (fcos_…) were brought up to date")
    return Renamed(renamed, tuple(notes))


def _prefix(weights: Weights) -> str:
    """What stands before `backbone.` in all names that have it."""
    found = {m[1] for key in weights if (m := re.match(r"^((?:[^.]+\.)*?)backbone\.", key))}
    if len(found) > 1:
        raise TeacherUnusable(
            f"the checkpoint holds {len(found)} detectors ({some(sorted(map(repr, found)))}); save "
            "the one that is to teach"
        )
    return next(iter(found), "")
