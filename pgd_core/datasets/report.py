"""What a data set check found: every fault, counted, with the first few as examples."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

MAX_EXAMPLES = 20
MAX_SHOWN = 80  # characters of a value from the file that a message repeats


class Code(StrEnum):
    """Stable names of the faults; the upper block makes a data set unusable."""

    FILE_UNREADABLE = "file_unreadable"
    FILE_TOO_LARGE = "file_too_large"
    NOT_JSON = "not_json"
    WRONG_SHAPE = "wrong_shape"
    WRONG_FIELD = "wrong_field"
    DUPLICATE_ID = "duplicate_id"
    DUPLICATE_CLASS = "duplicate_class"
    CLASSES_DIFFER = "classes_differ"
    FORMATS_DIFFER = "formats_differ"
    NO_CLASSES = "no_classes"
    NO_IMAGES = "no_images"
    NO_OBJECTS = "no_objects"
    DANGLING_IMAGE = "dangling_image"
    DANGLING_CLASS = "dangling_class"
    BAD_BOX = "bad_box"
    BOX_OUTSIDE = "box_outside"
    BAD_ISCROWD = "bad_iscrowd"
    UNSAFE_FILE_NAME = "unsafe_file_name"
    PICTURE_MISSING = "picture_missing"
    PICTURE_UNREADABLE = "picture_unreadable"
    PICTURE_TOO_LARGE = "picture_too_large"
    PICTURE_SIZE_DIFFERS = "picture_size_differs"
    VALIDATION_IS_TRAINING = "validation_is_training"

    BOX_SLIGHTLY_OUTSIDE = "box_slightly_outside"
    BOX_PARTLY_OUTSIDE = "box_partly_outside"
    BOX_LEFT_OUT = "box_left_out"
    BOX_UNDER_ONE_PIXEL = "box_under_one_pixel"
    AREA_MISSING = "area_missing"
    AREA_NOT_POSITIVE = "area_not_positive"
    IMAGE_WITHOUT_OBJECTS = "image_without_objects"
    CLASS_WITHOUT_OBJECTS = "class_without_objects"
    EXIF_ORIENTATION = "exif_orientation"
    PICTURE_REPEATED = "picture_repeated"
    SPLITS_OVERLAP = "splits_overlap"


WARNINGS = frozenset(
    {
        Code.BOX_SLIGHTLY_OUTSIDE,
        Code.BOX_PARTLY_OUTSIDE,
        Code.BOX_LEFT_OUT,
        Code.BOX_UNDER_ONE_PIXEL,
        Code.AREA_MISSING,
        Code.AREA_NOT_POSITIVE,
        Code.IMAGE_WITHOUT_OBJECTS,
        Code.CLASS_WITHOUT_OBJECTS,
        Code.EXIF_ORIENTATION,
        Code.PICTURE_REPEATED,
        Code.SPLITS_OVERLAP,
    }
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Example(_Frozen):
    pointer: str  # split and JSON pointer, such as "train:/annotations/12/bbox"
    message: str


class Finding(_Frozen):
    """One kind of fault; message and pointer are those of its first occurrence."""

    code: Code
    message: str
    pointer: str
    count: int
    examples: tuple[Example, ...]  # at most MAX_EXAMPLES


class SizeHistogram(_Frozen):
    """Objects by COCO's area bounds."""

    small: int = 0  # under 32² square pixels
    medium: int = 0
    large: int = 0  # 96² and above


class Histogram(_Frozen):
    """How many values lie from each edge up to the next; the last bin has no upper edge."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, edges: tuple[int, ...], values: Mapping[int, int]) -> Histogram:
        """Of how often each value occurs; none is below the first edge."""
        counts = [0] * len(edges)
        for value, times in values.items():
            counts[bisect_right(edges, value) - 1] += times
        return cls(edges=edges, counts=tuple(counts))


OBJECTS_EDGES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)
SIDE_EDGES = (0, 4, 8, 16, 32, 64, 96, 128, 256, 512, 1024)  # pixels


class SplitReport(_Frozen):
    """Counts over what could be read."""

    images: int = 0
    annotations: int = 0  # crowds included
    crowd: int = 0
    images_without_objects: int = 0
    objects_per_class: dict[str, int] = {}  # crowds excluded
    sizes: SizeHistogram = SizeHistogram()  # crowds excluded
    objects_per_image: Histogram = Histogram.of(OBJECTS_EDGES, {})  # crowds excluded
    box_sides: Histogram = Histogram.of(SIDE_EDGES, {})  # square root of width x height, pixels
    median_long_side: int = 0  # of the images, pixels; 0: none
    median_short_side: int = 0


class SharedPicture(_Frozen):
    """Two files of the same bytes."""

    train: str
    val: str


class DatasetReport(_Frozen):
    usable: bool  # no errors
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    classes: tuple[str, ...]  # in category-id order
    train: SplitReport
    val: SplitReport
    shared_pictures: int = 0  # of val, whose bytes are in train too
    shared_examples: tuple[SharedPicture, ...] = ()  # at most MAX_EXAMPLES
    sha256: str  # of both annotation files and every picture, as far as they could be read


class Findings:
    """Collects faults; memory stays bounded however many there are."""

    def __init__(self) -> None:
        self._counts: dict[Code, int] = {}
        self._examples: dict[Code, list[Example]] = {}

    def add(self, code: Code, pointer: str, message: str) -> None:
        self._counts[code] = self._counts.get(code, 0) + 1
        examples = self._examples.setdefault(code, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(Example(pointer=pointer, message=message))

    def errors(self) -> tuple[Finding, ...]:
        return self._of(code for code in Code if code not in WARNINGS)

    def warnings(self) -> tuple[Finding, ...]:
        return self._of(code for code in Code if code in WARNINGS)

    def _of(self, codes: Iterable[Code]) -> tuple[Finding, ...]:
        return tuple(
            Finding(
                code=code,
                message=self._examples[code][0].message,
                pointer=self._examples[code][0].pointer,
                count=self._counts[code],
                examples=tuple(self._examples[code]),
            )
            for code in codes
            if code in self._counts
        )


def shown(value: object) -> str:
    """A value from an untrusted file, short and printable."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, str):
        value = value[: MAX_SHOWN + 1]
    elif isinstance(value, int) and abs(value) >= 2**63:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)  # escapes what does not print
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
