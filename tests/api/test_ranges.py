"""The Range header, by hand and against a plain reference."""

from __future__ import annotations

import random

import pytest

from api.ranges import MalformedRange, OutsideRange, part_asked_for


def test_ranges_that_have_no_byte_are_left_out():
    assert part_asked_for("bytes=0-0,99-,5-,-3,10-12", 10) == "bytes=0-0,5-,-3"


def test_an_empty_file_has_no_range():
    for asked in ("bytes=0-", "bytes=-1", "bytes=0-0"):
        with pytest.raises(OutsideRange):
            part_asked_for(asked, 0)


def bytes_of(header, content):
    """What the header asks for, byte by byte, once it was read; a set of places."""
    found = set()
    for spec in header.removeprefix("bytes=").split(","):
        first, _, last = spec.partition("-")
        for place in range(len(content)):
            before = not first or place >= int(first)
            after = not last or place <= int(last) if first else place >= len(content) - int(last)
            if before and after:
                found.add(place)
    return found


def test_every_list_of_ranges_asks_for_the_same_bytes_as_it_was_written():
    dice, content = random.Random(0), bytes(30)
    for _ in range(3000):
        pairs = []
        for _ in range(dice.randint(1, 5)):
            first, last = sorted(dice.choices(range(60), k=2))
            pairs.append(dice.choice([f"{first}-{last}", f"{first}-", f"-{last}"]))
        written = ",".join(pairs)
        wanted = bytes_of(f"bytes={written}", content)
        if not wanted:
            with pytest.raises(OutsideRange):
                part_asked_for(f"bytes={written}", len(content))
            continue
        read = part_asked_for(f"Bytes= {written.replace(',', ' ,, ')}", len(content))
        assert read is not None
        assert bytes_of(read, content) == wanted, written


def test_whatever_is_written_is_refused_or_read():
    dice = random.Random(1)
    for _ in range(20_000):
        noise = "".join(dice.choices("0123456789-,=bytes \t+_²x", k=dice.randint(0, 12)))
        for header in (noise, f"bytes={noise}"):
            try:
                read = part_asked_for(header, 100)
            except (MalformedRange, OutsideRange):
                continue
            assert read is None or set(read) <= set("bytes=0123456789-,"), header
