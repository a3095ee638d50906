"""What is drawn while a data set is sent and checked."""

from __future__ import annotations

import io

from rich.console import Console

from api.data_bars import bar


def drawn(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, legacy_windows=False)
    with bar(console) as told:
        told("unpacking", 0.0, 0.0)
        told("checking", 0.25, 1.0)
        told("checking", 0.5, 1.0)
    return out.getvalue()


def test_each_stage_has_a_line_and_those_before_are_done():
    *_, unpacking, checking = drawn(terminal=True).replace("\x1b[?25h", "").strip().splitlines()

    assert "unpacking" in unpacking
    assert "100%" in unpacking
    assert "checking" in checking
    assert "50%" in checking


def test_without_a_terminal_nothing_is_drawn():
    assert drawn(terminal=False).strip() == ""
