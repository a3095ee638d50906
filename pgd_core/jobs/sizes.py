"""How large a detector is, counted layer by layer from its spec: nothing is built, no torch.

Letters: C channels, W the neck's and head's width, P positions of all five levels for each pixel of
the input (1/8² + 1/16² + … + 1/128²). "Kept" are the activations that the backward pass needs, in
numbers for each pixel of the padded input. A conv keeps its input, a norm its input, a ReLU its
output, which is the next conv's input: conv → norm → ReLU keeps 2 C. A ReLU6 keeps its input, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgd_core.jobs.detector import BackboneName, BackboneSpec, DetectorName, DetectorSpec

STRIDES = (8, 16, 32, 64, 128)
P = sum(1 / stride**2 for stride in STRIDES)
_RESNETS = {  # blocks of the four stages, and whether they are bottlenecks
    BackboneName.RESNET18: ((2, 2, 2, 2), False),
    BackboneName.RESNET34: ((3, 4, 6, 3), False),
    BackboneName.RESNET50: ((3, 4, 6, 3), True),
    BackboneName.RESNET101: ((3, 4, 23, 3), True),
}
_MOBILENET = (  # of MobileNetV2's stages: expansion, channels at width 1, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_OUTPUTS = {  # channels that a head predicts beside the classes: box, and quality
    DetectorName.FCOS: 4 + 1,
    DetectorName.AUTOASSIGN: 4 + 1,
    DetectorName.ATSS: 4 + 1,
    DetectorName.GFL: 4 * 17,
    DetectorName.DDOD: 4 + 1,
}
_OFFSETS = 18  # of a deformable 3x3 conv: two for each of nine places


@dataclass(frozen=True)
class Part:
    """A stage of a detector."""

    parameters: int
    kept: float  # numbers for each pixel of the input, where it is trained
    leaving: float  # numbers of what it gives to the next, the same way


@dataclass(frozen=True)
class Size:
    """A detector's size; what is frozen is counted, but keeps nothing."""

    backbone: int  # parameters
    neck_and_head: int
    trained: int  # of all parameters
    kept: float  # numbers for each pixel of the input, all
    kept_by_head: float  # of these the neck's and head's

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.backbone + self.neck_and_head


def size_of(spec: DetectorSpec, classes: int) -> Size | None:
    """The detector's size; None for a network of timm, whose layers are not known here."""
    stages = _stages(spec.backbone)
    if stages is None:
        return None
    parts, channels, unused = stages
    frozen = parts[: _frozen(spec.backbone)]
    head = _neck_and_head(spec, channels, classes)
    backbone = sum(part.parameters for part in parts) + unused
    still = sum(part.parameters for part in frozen) + unused
    return Size(
        backbone=backbone,
        neck_and_head=head.parameters,
        trained=backbone - still + head.parameters,
        # The first part that is trained keeps what enters it: the picture, or a frozen stage's map.
        kept=(frozen[-1].leaving if frozen else 3)
        + sum(part.kept for part in parts[len(frozen) :])
        + head.kept,
        kept_by_head=head.kept,
    )


def _frozen(spec: BackboneSpec) -> int:
    """How many of the parts are not trained; the stem, which comes first, with any stage."""
    default = -1 if spec.weights == "none" else 1
    return (default if spec.frozen_stages is None else spec.frozen_stages) + 1


def _stages(spec: BackboneSpec) -> tuple[list[Part], list[int], int] | None:
    """(stem and stages, channels at strides 8 to 32, parameters that are computed but not used)."""
    if spec.timm_name is not None:
        return None
    if spec.name is BackboneName.MOBILENET_V2:
        return _mobilenet(spec.width)
    blocks, bottlenecks = _RESNETS[BackboneName(spec.name)]
    # The stem's maximum keeps 8-byte indices, which are two numbers each.
    parts = [Part(_conv(3, 64, 7), 2 * 64 / 2**2 + 3 * 64 / 4**2, 64 / 4**2)]
    entering = 64
    for stage, count in enumerate(blocks):
        width, stride = 64 * 2**stage, 4 * 2**stage
        part, entering = _resnet_stage(entering, width, count, stride, bottlenecks)
        parts.append(part)
    expansion = 4 if bottlenecks else 1
    return parts, [width * expansion for width in (128, 256, 512)], 0


def _resnet_stage(
    entering: int, width: int, blocks: int, stride: int, bottleneck: bool
) -> tuple[Part, int]:
    """The stage and the channels that leave it."""
    leaving = width * (4 if bottleneck else 1)
    parameters, kept = 0, 0.0
    for block in range(blocks):
        into = entering if block == 0 else leaving
        if bottleneck:
            parameters += _conv(into, width, 1) + _conv(width, width, 3) + _conv(width, leaving, 1)
            kept += 2 * (width + width + leaving)
            # Its first conv is at the stride of the stage before it: torchvision's variant.
            kept += 6 * width if block == 0 and stride > 4 else 0
        else:
            parameters += _conv(into, width, 3) + _conv(width, leaving, 3)
            kept += 2 * (width + leaving)
        if block == 0 and (into != leaving or stride > 4):
            parameters += _conv(into, leaving, 1)
            kept += leaving
    return Part(parameters, kept / stride**2, leaving / stride**2), leaving


def _mobilenet(width: float) -> tuple[list[Part], list[int], int]:
    entering, stride = divisible_by_8(32 * width), 2
    parts = [Part(_conv(3, entering, 3), 3 * entering / stride**2, entering / stride**2)]
    channels = []
    for expansion, at_width_1, blocks, step in _MOBILENET:
        leaving = divisible_by_8(at_width_1 * width)
        parameters, kept = 0, 0.0
        for block in range(blocks):
            hidden = entering * expansion
            before = stride
            stride = stride * step if block == 0 else stride
            if expansion > 1:
                parameters += _conv(entering, hidden, 1)
                kept += 3 * hidden / before**2
            parameters += 11 * hidden + _conv(hidden, leaving, 1)  # 3x3 of each channel, and norm
            kept += (3 * hidden + 2 * leaving) / stride**2
            entering = leaving
        parts.append(Part(parameters, kept, leaving / stride**2))
        channels.append(leaving)
    last = max(1280, divisible_by_8(1280 * width)) if width > 1 else 1280
    return parts, [channels[2], channels[4], channels[6]], _conv(entering, last, 1)


def _neck_and_head(spec: DetectorSpec, channels: list[int], classes: int) -> Part:
    width, towers = spec.head_width, 2 * spec.head_convs
    outputs = _OUTPUTS[spec.detector] + classes
    lateral = sum(entering * width + width for entering in channels)
    neck = lateral + len(STRIDES) * (9 * width * width + width)
    head = towers * (9 * width * width + 2 * width) + outputs * (9 * width + 1) + len(STRIDES)
    if spec.detector is DetectorName.DDOD:
        head += 2 * (_OFFSETS * (9 * width + 1))  # the towers' first convs are deformable
    if spec.detector is DetectorName.AUTOASSIGN:
        head += towers * width + 4 * classes  # its convs have biases; where each class's centre is
    kept = width * P * (2 + 2 * towers) + LOSSES * outputs * P
    return Part(neck + head, kept, 0.0)


LOSSES = 8  # copies of each output that the loss keeps, as measured


def _conv(entering: int, leaving: int, side: int) -> int:
    """Parameters of a conv without bias and its norm."""
    return entering * leaving * side**2 + 2 * leaving


def divisible_by_8(channels: float) -> int:
    """MobileNetV2's rounding: to a multiple of 8, never losing more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
