"""What a checkpoint was recognised as, and what its check answers; known to all without torch."""

from __future__ import annotations

from pydantic import Field

from pgd_core.jobs.detector import DetectorSpec
from pgd_core.jobs.strict import Strict


class Recognised(Strict):
    """A detector as its tensors show it, whether or not it can be a teacher here."""

    detector: str = Field(description="`fcos`, …; or what it looks like, such as `RetinaNet`.")
    backbone: str = Field(description="`resnet50`, …; or what it looks like, such as `resnet152`.")
    depth: int | None = Field(None, description="Of a ResNet, in layers.")
    width: float | None = Field(None, description="Multiplier of a MobileNetV2.")
    neck_width: int | None = Field(None, description="Channels of the FPN.")
    head_width: int | None = Field(None, description="Channels of the head's towers.")
    head_convs: int | None = Field(None, description="Convolutions in each tower.")
    classes: int | None = Field(None, description="How many.")
    class_names: tuple[str, ...] | None = Field(
        None, description="From the checkpoint's meta data, where it has as many."
    )
    norms: dict[str, str] = Field(
        {}, description="Of backbone, neck and head: `BN`, `GN`, or `none`."
    )
    notes: tuple[str, ...] = Field(
        (), description="What was concluded, renamed or cannot be seen in tensors."
    )
    model: DetectorSpec | None = Field(
        None, description="The declaration that fits it; none where it cannot be a teacher here."
    )


class TeacherAnswer(Strict):
    """What `teacher_check` answers about one file."""

    usable: bool
    message: str = ""  # why it is not
    sha256: str = ""  # of the converted weights
    recognised: Recognised | None = None  # None where the file could not be read
    undeclared: bool = False  # usable as what `recognised` says, which nobody has confirmed yet
