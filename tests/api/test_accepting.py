"""Which form of an answer a caller asks for."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from api.accepting import accepts


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        ("text/csv", True),
        ("TEXT/CSV; q=0.8, */*", True),
        ("text/csv, application/json", True),
        ("text/csv;q=0.5, application/json;q=0.9", False),
        ("text/csv;q=0", False),
        ("text/csv;q=much", False),
        ("text/*, */*", False),
        ("application/json", False),
        ("", False),
        (None, False),
        (";;,,q=1", False),
    ],
)
def test_a_form_is_given_to_those_who_name_it(accept: str | None, asked: bool) -> None:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    request = Request({"type": "http", "headers": headers})

    assert accepts(request, "text/csv", rather_than="application/json") is asked
