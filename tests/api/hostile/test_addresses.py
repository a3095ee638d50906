"""Ids and names in addresses that would like to be paths, SQL, or something else."""

from __future__ import annotations

import pytest

from tests.api.hostile.wire import UNREADABLE, ask
from tests.api.live import ARTIFACT, ARTIFACT_BYTES

NAMES = {
    "dot segments": b"..",
    "encoded dots": b"%2e%2e",
    "encoded slashes": b"..%2f..%2f..%2fetc%2fpasswd",
    "twice encoded slashes": b"..%252f..%252fetc%252fpasswd",
    "backslashes": b"..%5c..%5cpgd.sqlite",
    "slashes": b"../../../../etc/passwd",
    "an absolute path": b"%2fetc%2fpasswd",
    "a NUL": b"%00",
    "a NUL behind": b"a%00.txt",
    "a line break": b"a%0a",
    "a carriage return": b"a%0d%0aSet-Cookie:%20a=b",
    "nothing": b"",
    "a blank": b"%20",
    "over long": b"a" * 65,
    "very long": b"a" * 60_000,
    "a letter beyond ASCII": b"%c3%a4",
    "digits beyond ASCII": b"%ef%bc%91",
    "text turned round": b"%e2%80%ae",
    "no UTF-8": b"%ff%fe",
    "an over-long slash": b"%c0%af",
    "half a surrogate pair": b"%ed%a0%80",
    "a percent sign": b"%",
    "half an escape": b"%2",
    "SQL": b"'%20OR%20'1'='1",
    "a wildcard": b"%25",
    "a template": b"%7B%7B7*7%7D%7D",
    "a URL": b"http:%2f%2f127.0.0.1%2f",
}
PLACES = {
    "a job": b"/v1/jobs/%s",
    "its log": b"/v1/jobs/%s/logs",
    "its artifact": b"/v1/jobs/%s/artifacts/student.safetensors",
    "a data set": b"/v1/datasets/%s",
    "a teacher": b"/v1/teachers/%s",
    "an upload": b"/v1/uploads/%s",
    "a key": b"/v1/keys/%s",
    "a worker": b"/v1/workers/%s",
    "a problem": b"/problems/%s",
}


@pytest.mark.parametrize("name", list(NAMES.values()), ids=list(NAMES))
@pytest.mark.parametrize("place", list(PLACES.values()), ids=list(PLACES))
def test_a_name_that_names_nothing_is_404(live, place, name):
    answer = ask(live, place % name)

    assert answer.problem()["code"] == "not_found"
    assert answer.status == 404


@pytest.mark.parametrize("name", list(NAMES.values()), ids=list(NAMES))
def test_an_artifact_is_found_by_its_name_in_the_database_alone(live, name):
    artifacts = f"/v1/jobs/{live.ids['job_id'][0]}/artifacts/".encode()

    assert ask(live, artifacts + ARTIFACT.encode()).body == ARTIFACT_BYTES
    answer = ask(live, artifacts + name)
    assert answer.status == 404
    assert answer.problem()["code"] == "not_found"


@pytest.mark.parametrize("name", list(NAMES.values()), ids=list(NAMES))
def test_no_team_has_such_a_name(live, name):
    answer = ask(
        live,
        b"/v1/teams/" + name,
        b"PUT",
        headers=[(b"Content-Type", b"application/json")],
        body=b'{"weight": 1}',
    )
    teams = ask(live, b"/v1/teams").body

    assert answer.problem()["code"] in ("not_found", "invalid_spec")
    assert b"etc" not in teams
    assert b'"' + name + b'"' not in teams


@pytest.mark.parametrize(
    "public", [b"/livez", b"/readyz", b"/docs", b"/openapi.json", b"/problems"]
)
@pytest.mark.parametrize("way", [b"/../v1/me", b"/..%2fv1%2fme", b"/%2e%2e/v1/me", b"//v1/me"])
def test_no_way_leads_from_a_public_page_to_another(live, public, way):
    assert ask(live, public + way, whose=None).status in (401, 404)


@pytest.mark.parametrize(
    "target",
    [b"/V1/me", b"//v1/me", b"/v1//me", b"/v1/me/", b"/v1/./me", b"/v1/jobs/../me", b"/v1/me%00"],
)
def test_an_address_is_written_in_one_way(live, target):
    assert ask(live, target).problem()["code"] == "not_found"
    assert ask(live, target, whose=None).problem()["code"] == "unauthenticated"


@pytest.mark.parametrize("target", [b"*", b"http://evil.example/v1/me", b"evil.example:443"])
def test_no_other_host_is_asked(live, target):
    answer = ask(live, target)

    assert answer.status in (400, 404)
    assert answer.body == UNREADABLE.encode() or answer.problem()


@pytest.mark.parametrize(
    "query",
    [
        b"after=%00",
        b"after='",
        b"after=..%2f",
        b"limit=" + b"9" * 5000,
        b"limit=%ef%bc%91",
        b"limit=1e2",
        b"limit=-1",
        b"limit=NaN",
        b"state=queued%00",
        b"team=%ff",
        b"team=..%2fvision",
        b"kind[]=train",
        b"kind=__class__",
        b"no_such_field=1",
    ],
)
def test_a_query_that_no_list_takes_is_422_and_says_which_field(live, query):
    problem = ask(live, b"/v1/jobs?" + query).problem()

    assert problem["code"] == "invalid_request"
    name = query.partition(b"=")[0].decode()
    assert [item["parameter"] for item in problem["errors"]] == [name]


def test_of_a_field_given_twice_the_last_one_is_checked_and_used(live):
    assert ask(live, b"/v1/jobs?limit=0&limit=1").status == 200
    assert ask(live, b"/v1/jobs?limit=1&limit=0").problem()["code"] == "invalid_request"


@pytest.mark.parametrize("method", [b"FOO", b"get", b"TRACE", b"OPTIONS", b"HEAD", b"PROPFIND"])
def test_a_method_that_nobody_takes_is_405(live, method):
    assert ask(live, b"/v1/keys", method).status == 405
