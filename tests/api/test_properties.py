"""Whatever is asked, the API answers as its document says: every operation, on both databases.

Schemathesis walks the document, so that a new route is asked too. `PROPERTY_EXAMPLES=200` asks so
often about each operation, and about every boundary of every field of a job's spec.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.api.fuzzing import Findings, Run, fuzz
from tests.api.live import Live, live_api
from tests.servers import postgres_url

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "4"))
LONG = EXAMPLES >= 50
NOT_REACHED = {  # the data set here was never checked, and chance seldom names two models
    "GET /v1/compare",
    "GET /v1/datasets/{dataset_id}/contact-sheet",
    "GET /v1/datasets/{dataset_id}/subset",
}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_api() as live:
        yield live


@pytest.fixture(scope="module")
def live_on_postgresql() -> Iterator[Live]:
    with live_api(postgres_url()) as live:
        yield live


def operations(live: Live) -> set[str]:
    """Of the API's document: "GET /v1/jobs"."""
    paths = httpx.get(f"{live.url}/openapi.json").json()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def answered_as_documented(live: Live, findings: Findings) -> None:
    """Nothing failed, and everything was asked."""
    assert not findings.failed, findings.report
    assert operations(live) - findings.operations() == set()
    assert '"level": "error"' not in live.log()


def reads_found_their_things(live: Live, findings: Findings) -> None:
    """The names in the addresses were those of things: 404 was not all that was tried."""
    reads = {name for name in operations(live) if name.startswith("GET")}
    assert reads - findings.operations(below=400) <= NOT_REACHED


@pytest.mark.slow  # PostgreSQL is the stricter of the two
def test_every_operation_answers_an_operator_as_the_document_says(live):
    findings = fuzz(live, Run(EXAMPLES, coverage=LONG, coverage_of_specs=LONG))

    answered_as_documented(live, findings)
    reads_found_their_things(live, findings)


def test_every_operation_answers_as_the_document_says_over_postgresql(live_on_postgresql):
    # The stricter database, so that in a short run the boundaries of fields are tried on it.
    findings = fuzz(live_on_postgresql, Run(EXAMPLES, coverage_of_specs=LONG))

    answered_as_documented(live_on_postgresql, findings)
    reads_found_their_things(live_on_postgresql, findings)


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["viewer", "stranger"])
def test_every_operation_answers_those_who_may_little_as_the_document_says(live, whose):
    findings = fuzz(live, Run(max(EXAMPLES // 2, 2), whose, coverage=LONG, links=LONG))

    answered_as_documented(live, findings)
    assert 403 in {answer.status for answer in findings.answers}
    if whose == "stranger":
        theirs = [a for a in findings.answers if "{job_id}" in a.operation]
        assert theirs
        assert all(answer.status >= 400 for answer in theirs)
