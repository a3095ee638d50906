"""Which pictures tell two models apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgd_core.evaluation.detections import Detections
from pgd_core.evaluation.pictures import SHOWN_FROM, matches


@dataclass(frozen=True)
class Telling:
    """One picture and by how much the one model is ahead of the other in it."""

    image_id: int
    lead: int  # of the first model; negative where the second is ahead


def telling_pictures(
    truths: Mapping[int, Detections],  # of every picture, by image
    first: Mapping[int, Detections],  # an image where nothing was found may be absent
    second: Mapping[int, Detections],
    count: int,
    min_score: float = SHOWN_FROM,
) -> list[Telling]:
    """Up to `count` pictures where the models differ most, the first one's wins before its defeats.

    A model's quality in a picture is the number of objects it finds (its class, IoU from 0.5, score
    from `min_score`) less the number of its wrong detections; the lead is the difference of the two
    qualities. The largest leads are taken, whichever model has them, of equal ones the lowest image
    id; but where each model is ahead somewhere, each is seen ahead: if it were not, its largest
    lead takes the last place. Pictures of equal quality are left out.
    """
    leads = [
        Telling(image_id, _quality(truth, first, min_score) - _quality(truth, second, min_score))
        for image_id, truth in truths.items()
    ]
    ranked = sorted((t for t in leads if t.lead), key=lambda t: (-abs(t.lead), t.image_id))
    chosen, rest = ranked[:count], ranked[count:]
    for sign in (1, -1):
        unseen = [t for t in rest if t.lead * sign > 0]
        if len(chosen) > 1 and unseen and not any(t.lead * sign > 0 for t in chosen):
            chosen[-1] = unseen[0]
    return sorted(chosen, key=lambda t: (-t.lead, t.image_id))


def _quality(truth: Detections, model: Mapping[int, Detections], min_score: float) -> int:
    if truth.image_id not in model:
        return 0
    right, _ = matches(truth, model[truth.image_id].above(min_score))
    return int(right.sum()) - int((~right).sum())
