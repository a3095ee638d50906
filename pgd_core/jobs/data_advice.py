"""Warnings about a job's data set, and whether its pictures fit the size that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from pgd_core.jobs.advice import Advice, Asked, runs_of
from pgd_core.jobs.data_facts import DataFacts
from pgd_core.jobs.schedule import InputSpec

FEW_TRAIN, FEW_VAL = 200, 50  # pictures
RARE = 10  # objects of a class
UNEVEN = 100.0  # times as many objects of the most frequent class as of the least
ENLARGED = 2.0  # times
LEAST_SIDE = 8  # pixels: the finest level's stride
MOST_NAMED = 5


def data_advice(asked: Asked) -> Iterator[Advice]:
    """About pictures, classes and sizes; nothing about a data set whose report says nothing."""
    facts = asked.facts
    if facts.shared:
        yield Advice(
            "validation_in_training",
            "/dataset",
            f"{facts.shared} of {facts.val_images} validation pictures are training pictures too, "
            "so accuracy will look better than it is; register the data set without them",
        )
    runs = runs_of(asked)
    if not runs:
        return
    yield from _numbers(facts)
    yield from _classes(facts)
    yield from _sizes(facts, runs[0].job.input)


def _numbers(facts: DataFacts) -> Iterator[Advice]:
    if 0 < facts.with_objects < FEW_TRAIN:
        yield Advice(
            "few_training_pictures",
            "/dataset",
            f"{facts.with_objects} training pictures hold an object; under {FEW_TRAIN} a detector "
            "learns them by heart. Add pictures, or start from weights of the same classes",
        )
    if 0 < facts.val_images < FEW_VAL:
        yield Advice(
            "few_validation_pictures",
            "/dataset",
            f"{facts.val_images} validation pictures: under {FEW_VAL} AP moves by points from "
            "chance alone. Add pictures, or compare means over several seeds in a study",
        )


def _classes(facts: DataFacts) -> Iterator[Advice]:
    rare = [name for name, count in facts.objects.items() if count < RARE]
    if rare:
        named = ", ".join(repr(name) for name in rare[:MOST_NAMED])
        more = f" and {len(rare) - MOST_NAMED} more" if len(rare) > MOST_NAMED else ""
        yield Advice(
            "rare_classes",
            "/dataset",
            f"{named}{more} have under {RARE} training objects and will hardly be found; add some, "
            "or leave the classes out",
        )
    counts = [count for count in facts.objects.values() if count >= RARE]
    if counts and max(counts) > UNEVEN * min(counts):
        least = min(
            facts.objects, key=lambda name: (facts.objects[name] < RARE, facts.objects[name])
        )
        most = max(facts.objects, key=lambda name: facts.objects[name])
        yield Advice(
            "class_imbalance",
            "/dataset",
            f"{most!r} has {max(counts)} training objects and {least!r} {min(counts)}: AP, the "
            "mean over classes, will hang on the few; add objects of the rare classes",
        )


def _sizes(facts: DataFacts, given: InputSpec) -> Iterator[Advice]:
    if not facts.long_side or not facts.short_side:
        return
    scale = min(given.long_side / facts.long_side, given.short_side / facts.short_side)
    size = f"half of the pictures are at most {facts.long_side} x {facts.short_side} pixels"
    if scale > ENLARGED:
        yield Advice(
            "pictures_enlarged",
            "/input/long_side",
            f"{size}, and an input of {given.long_side} x {given.short_side} enlarges such "
            f"{scale:.1f} times: time and memory for no detail; give long_side "
            f"{facts.long_side} and short_side {facts.short_side}, or up to twice as much",
        )
    lost = facts.boxes_under(LEAST_SIDE / scale)
    if lost > 0.5:
        yield Advice(
            "boxes_too_small",
            "/input/short_side",
            f"{size}; at an input of {given.long_side} x {given.short_side} {lost:.0%} of the "
            f"boxes are under {LEAST_SIDE} pixels, which no level sees; give a larger long_side "
            "and short_side",
        )
