"""The distillation methods that a job may ask for, and their numbers.

A number left out takes the preset of the teacher's detector, which stands beside the method's
formula in `pgd_core.distill.methods`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import BeforeValidator, Field, create_model

from pgd_core.errors import FieldProblem, InvalidSpec
from pgd_core.jobs.detector import DetectorName
from pgd_core.jobs.strict import Strict

EVERY_DETECTOR = tuple(DetectorName)
WITH_ANCHORS = (DetectorName.ATSS, DetectorName.GFL, DetectorName.DDOD)
WITH_DISTRIBUTIONS = (DetectorName.GFL,)


class MethodOptions(Strict):
    """Which method distils, and its numbers; None takes the preset of the teacher's detector."""

    title: ClassVar[str]
    detectors: ClassVar[tuple[DetectorName, ...]] = EVERY_DETECTOR
    distils: ClassVar[bool] = True
    name: str

    @property
    def starts_from_teachers_head(self) -> bool:
        """Whether the method's authors start the student from the teacher's neck and head."""
        return False

    def given(self) -> dict[str, Any]:
        """The options that were given, by name; the rest takes the preset."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class PgdSpec(MethodOptions):
    """Prediction-Guided Distillation; None takes the teacher detector's preset."""

    title: ClassVar[str] = "PGD"
    name: Literal["pgd"] = "pgd"
    profile: Literal["release", "paper"] = Field(
        "release",
        description="Normalisations of the authors' release, or the equations to the letter.",
    )
    xi_cls: float = Field(
        0.8, ge=0, le=1, description="Weight of localisation in Eq. 1, cls branch."
    )
    xi_reg: float = Field(
        0.6, ge=0, le=1, description="Weight of localisation in Eq. 1, reg branch."
    )
    top_k: int = Field(30, ge=1, le=1000, description="Key positions per object.")
    alpha: float | None = Field(None, ge=0, description="Foreground weight, cls features; preset.")
    beta: float | None = Field(None, ge=0, description="Background weight; default alpha / 2.")
    gamma: float | None = Field(
        None, ge=0, description="Foreground weight, reg features; 1.6 alpha."
    )
    delta: float = Field(0.0008, ge=0, description="Weight of the attention losses.")
    tau: float | None = Field(None, gt=0, description="Temperature of the attention maps; preset.")
    strategy: Literal["box", "box_gauss", "centre", "quality", "topk_eq", "kde", "pgw"] = Field(
        "pgw",
        description="Where an object is distilled: in its whole box, by a Gaussian over the box, "
        "in its centre, by quality, at the K best positions alike, by their density, or (pgw) by "
        "a Gaussian over them.",
    )
    branches: Literal["neck", "cls", "reg", "cls+reg"] = Field(
        "cls+reg", description="Which features are distilled: the neck's or the head's towers'."
    )

    @property
    def starts_from_teachers_head(self) -> bool:
        return self.profile == "release"


class NoMethod(MethodOptions):
    """The plain student: the same start and schedule, no distillation."""

    title: ClassVar[str] = "none"
    distils: ClassVar[bool] = False
    name: Literal["none"] = "none"


def _weight(meaning: str) -> Any:
    return (float | None, Field(None, ge=0, description=f"{meaning}; preset."))


def _temperature(meaning: str) -> Any:
    return (float | None, Field(None, gt=0, description=f"{meaning}; preset."))


def _iterations(meaning: str) -> Any:
    return (int | None, Field(None, ge=0, description=f"{meaning}; preset."))


class _FromTeachersHead(MethodOptions):
    @property
    def starts_from_teachers_head(self) -> bool:
        return True


def _method(
    name: str,
    title: str,
    *,
    detectors: tuple[DetectorName, ...] = EVERY_DETECTOR,
    base: type[MethodOptions] = MethodOptions,
    **options: Any,
) -> type[MethodOptions]:
    """The options of a method whose numbers are all optional and have presets."""
    named: Any = (Literal[name], name)
    made: type[MethodOptions] = create_model(
        f"{title}Options",
        __base__=base,
        __doc__=f"{title}; None takes the teacher detector's preset.",
        name=named,
        **options,
    )
    made.title, made.detectors = title, detectors
    return made


_OPTIONS: tuple[type[MethodOptions], ...] = (
    PgdSpec,
    _method(
        "fgd",
        "FGD",
        base=_FromTeachersHead,
        alpha=_weight("Weight of the features on objects"),
        beta=_weight("Weight of the features on the background"),
        gamma=_weight("Weight of the attention maps"),
        lambda_global=_weight("Weight of the relation between pixels"),
        tau=_temperature("Temperature of the attention maps"),
    ),
    _method(
        "defeat",
        "DeFeat",
        w_foreground=_weight("Weight of the features on objects"),
        w_background=_weight("Weight of the features on the background"),
    ),
    _method(
        "frs",
        "FRS",
        w_feature=_weight("Weight of the features"),
        w_class=_weight("Weight of the class probabilities"),
        warm_up_iterations=_iterations("Iterations over which both weights grow from 0"),
    ),
    _method(
        "fkd",
        "FKD",
        alpha=_weight("Weight of the features under attention"),
        beta=_weight("Weight of the features' means over positions and over channels"),
        gamma=_weight("Weight of the relation between positions"),
        tau=_temperature("Temperature of the attention maps"),
    ),
    _method(
        "fgfi",
        "FGFI",
        detectors=WITH_ANCHORS,
        w_feature=_weight("Weight of the features near objects"),
        first_iteration=_iterations("Iterations before the loss sets in"),
    ),
    _method(
        "ld",
        "LD",
        detectors=WITH_DISTRIBUTIONS,
        w_main=_weight("Weight of the box distributions on positives"),
        w_valuable=_weight("Weight of the box distributions on the valuable region"),
        w_class=_weight("Weight of the classes on positives"),
        w_feature=_weight("Weight of the features near objects"),
        tau_box=_temperature("Temperature of the box distributions"),
        tau_class=_temperature("Temperature of the classes"),
    ),
    NoMethod,
)
METHODS: dict[str, type[MethodOptions]] = {
    str(options.model_fields["name"].default): options for options in _OPTIONS
}


def _pgd_by_default(value: Any) -> Any:
    """A method without a name is PGD."""
    return {"name": "pgd", **value} if isinstance(value, dict) else value


if TYPE_CHECKING:
    MethodSpec = MethodOptions
else:
    MethodSpec = Annotated[
        Union[tuple(METHODS.values())],  # noqa: UP007
        Field(discriminator="name"),
        BeforeValidator(_pgd_by_default),
    ]


def refuse_unserved(method: MethodOptions, detector: str) -> None:
    """InvalidSpec with a way out where the method cannot serve the detector."""
    if detector in method.detectors:
        return
    can = ", ".join(name for name, options in METHODS.items() if detector in options.detectors)
    message = (
        f"method {method.name!r} cannot distil {detector}: it serves "
        f"{', '.join(method.detectors)}; for {detector} there are {can}"
    )
    raise InvalidSpec(message, (FieldProblem("/method/name", message),))
