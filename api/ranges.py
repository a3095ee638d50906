"""Which part of a file a request asks for: the Range header as RFC 9110, 14.2, has it."""

from __future__ import annotations

import re

MOST_RANGES = 20  # more are answered with the whole file, as the RFC allows
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_MOST_DIGITS = 18  # of a place in a file; a longer number is beyond any end


class MalformedRange(ValueError):
    """The header is of bytes, but no list of ranges."""


class OutsideRange(ValueError):
    """None of the ranges has a byte of the file."""


def part_asked_for(header: str, size: int) -> str | None:
    """The header with only those of its ranges that have a byte of the file.

    None: it is of another unit, or of too many ranges, and the whole file is the answer.
    """
    unit, sign, listed = header.partition("=")
    if not sign:
        raise MalformedRange
    if unit.strip(" \t").lower() != "bytes":
        return None
    found = [_pair(each) for part in listed.split(",") if (each := part.strip(" \t"))]
    if not found:
        raise MalformedRange
    if len(found) > MOST_RANGES:
        return None
    inside = [(first, last) for first, last in found if _is_inside(first, last, size)]
    if not inside:
        raise OutsideRange
    return "bytes=" + ",".join(f"{_text(first)}-{_text(last)}" for first, last in inside)


def _pair(spec: str) -> tuple[int | None, int | None]:
    match = _RANGE.fullmatch(spec)
    if match is None or spec == "-":
        raise MalformedRange
    first, last = (_place(each) for each in match.groups())
    if first is not None and last is not None and last < first:
        raise MalformedRange
    return first, last


def _place(digits: str) -> int | None:
    short = digits.lstrip("0")
    if len(short) > _MOST_DIGITS:
        return int(10**_MOST_DIGITS)
    return int(short or "0") if digits else None


def _is_inside(first: int | None, last: int | None, size: int) -> bool:
    if first is None:  # the last so many bytes
        return bool(last) and size > 0
    return first < size


def _text(place: int | None) -> str:
    return "" if place is None else str(place)
