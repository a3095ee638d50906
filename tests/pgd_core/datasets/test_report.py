from __future__ import annotations

import pytest

from pgd_core.datasets.report import MAX_EXAMPLES, Code, Findings, Histogram, shown


def test_faults_are_all_counted_and_the_first_twenty_shown() -> None:
    findings = Findings()
    for index in range(1000):
        findings.add(Code.BAD_BOX, f"train:/annotations/{index}/bbox", f"fault {index}")
    (finding,) = findings.errors()
    assert finding.count == 1000
    assert len(finding.examples) == MAX_EXAMPLES == 20
    assert (finding.pointer, finding.message) == ("train:/annotations/0/bbox", "fault 0")


def test_warnings_and_errors_are_told_apart() -> None:
    findings = Findings()
    findings.add(Code.AREA_MISSING, "p", "m")
    assert not findings.errors()
    assert findings.warnings()[0].code == "area_missing"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("über", "'über'"),
        ("a\nb", "'a\\nb'"),
        ("\ud800", "'\\ud800'"),
        (True, "True"),
        ({}, "an object"),
        ([1, 2], "a list of 2"),
        (10**400, "a number of 1329 bits"),
    ],
)
def test_a_value_is_shown_short_and_printable(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 10_000)) == 81


def test_a_histogram_counts_from_each_edge_up_to_the_next() -> None:
    assert Histogram.of((0, 1, 5), {0: 2, 1: 1, 4: 3, 5: 1, 999: 4}).counts == (2, 4, 5)
