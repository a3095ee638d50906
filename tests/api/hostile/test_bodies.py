"""Bodies that are no JSON, too much of it, or JSON that means nothing here."""

from __future__ import annotations

import json

import pytest

from api.limits import MAX_JSON_BYTES
from tests.api.hostile.wire import JSON, Answer, ask
from tests.api.live import TEAM, Live


def put(live: Live, body: bytes) -> Answer:
    """The answer to a team's settings."""
    return ask(live, b"/v1/teams/hostile", b"PUT", headers=JSON, body=body)


NO_JSON = {
    "text": b"weight=1",
    "invalid UTF-8": b'{"weight": "\xff"}',
    "an over-long slash": b'{"\xc0\xaf": 1}',
    "two values": b'{"weight": 1}{"weight": 1}',
    "something behind": b'{"weight": 1} x',
    "half": b'{"weight": ',
    "a NUL": b"\x00",
    "a comment": b'{"weight": 1 /* one */}',
    "a comma too many": b'{"weight": 1,}',
    "single quotes": b"{'weight': 1}",
    "deep lists": b"[" * 500_000 + b"]" * 500_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of 5000 digits": b'{"weight": 1%s}' % (b"0" * 5000),
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR.",
}


@pytest.mark.parametrize("body", list(NO_JSON.values()), ids=list(NO_JSON))
def test_what_is_no_json_is_400(live, body):
    answer = put(live, body)

    assert answer.status == 400
    assert answer.problem()["code"] == "bad_request"


NO_SETTINGS = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "NaN": b'{"weight": NaN}',
    "infinity": b'{"weight": Infinity}',
    "over all floats": b'{"weight": 1e999}',
    "a number of 4000 digits": b'{"weight": 1%s}' % (b"0" * 4000),
    "over 64 bits": b'{"weight": 1, "max_running_gpus": 18446744073709551616}',
    "over 32 bits": b'{"weight": 1, "max_running_gpus": 2147483648}',
    "text for a number": b'{"weight": "1"}',
    "a boolean for a number": b'{"weight": true}',
    "a NUL": b'{"weight": "\\u0000"}',
    "half a surrogate pair": b'{"weight": "\\ud800"}',
    "half a pair as a key": b'{"\\ud800": 1}',
    "an empty key": b'{"": 1, "weight": 1}',
    "a dunder": b'{"__class__": "x", "weight": 1}',
    "deep": b'{"weight": 1, "x": %s%s}' % (b"[" * 900, b"]" * 900),
    "a long list": b"[" + b"0," * (MAX_JSON_BYTES // 2 - 10) + b"0]",
    "many keys": b"{" + b",".join(b'"k%d":1' % n for n in range(80_000)) + b"}",
}


@pytest.mark.parametrize("body", list(NO_SETTINGS.values()), ids=list(NO_SETTINGS))
def test_json_that_is_no_settings_is_422(live, body):
    answer = put(live, body)

    assert answer.status == 422
    assert answer.problem()["code"] == "invalid_request"
    assert len(answer.body) < 50_000  # however much was wrong


def test_of_a_key_given_twice_the_last_one_is_checked_and_used(live):
    assert json.loads(put(live, b'{"weight": 0, "weight": 2}').body)["weight"] == 2
    assert put(live, b'{"weight": 2, "weight": 0}').problem()["errors"][0]["pointer"] == "/weight"


@pytest.mark.parametrize(
    "body", [b'\xef\xbb\xbf{"weight": 1}', b' \r\n\t{"weight": 1}\n', b'{"weight": 1.0e0}']
)
def test_a_mark_at_the_beginning_and_blanks_are_passed_over(live, body):
    assert put(live, body).status == 200


@pytest.mark.parametrize("target", [b"/v1/teams/hostile", b"/v1/keys", b"/v1/no-such-thing"])
def test_a_byte_over_the_cap_is_413(live, target):
    method = b"PUT" if b"teams" in target else b"POST"
    fits = b'{"weight": 1}'.ljust(MAX_JSON_BYTES)

    assert put(live, fits).status == 200
    answer = ask(live, target, method, headers=JSON, body=fits + b" ")
    assert answer.status == 413
    assert answer.problem()["code"] == "too_large"


TEXTS = {
    "a NUL": "a\x00",
    "a line break": "a\nb",
    "an escape sequence": "\x1b[31m",
    "half a surrogate pair": "\ud800",
    "over long": "a" * 201,
    "nothing": "",
    "a number": 1,
    "a list": ["a"],
}


@pytest.mark.parametrize("text", list(TEXTS.values()), ids=list(TEXTS))
@pytest.mark.parametrize("target", [b"/v1/keys", b"/v1/datasets", b"/v1/teachers"])
def test_a_name_that_no_line_of_a_log_should_hold_is_422(live, target, text):
    answer = ask(live, target, b"POST", headers=JSON, body=json.dumps({"name": text}).encode())

    found = answer.problem()
    assert answer.status == 422
    assert "/name" in json.dumps(found["errors"]) or text == "\ud800"


def train(live: Live, **rest: object) -> bytes:
    model = {"detector": "fcos", "backbone": {"name": "resnet18"} | dict(rest.pop("backbone", {}))}
    spec = {"kind": "train", "dataset": live.ids["dataset_id"][0], "model": model}
    return json.dumps(spec | rest).encode()


def newest_job(live: Live) -> str:
    """Its id."""
    return str(json.loads(ask(live, b"/v1/jobs?limit=1").body)["items"][0]["id"])


SPECS = {
    "a NUL in its name": {"name": "a\x00"},
    "half a surrogate pair": {"name": "\ud800"},
    "another's path for a data set": {"dataset": "../../etc"},
    "a NUL for a data set": {"dataset": "\x00"},
    "weights by a path": {"backbone": {"weights": "file:../../etc/passwd"}},
    "weights by an absolute path": {"backbone": {"weights": "file:/etc/passwd"}},
    "weights by a URL": {"backbone": {"weights": "http://127.0.0.1/"}},
    "weights with a NUL": {"backbone": {"weights": "file:a\x00"}},
    "a network from a hub": {"backbone": {"name": "timm/hf-hub:a/b"}},
    "custom imports": {"custom_imports": {"imports": ["os"]}},
    "another kind": {"kind": "shell"},
    "a kind that is a list": {"kind": ["train"]},
    "a study's preset that is no word": {"kind": "study", "preset": {}},
}


@pytest.mark.parametrize("rest", list(SPECS.values()), ids=list(SPECS))
def test_a_spec_that_reaches_for_more_is_422_and_queues_nothing(live, rest):
    before = newest_job(live)

    answer = ask(live, b"/v1/jobs?team=vision", b"POST", headers=JSON, body=train(live, **rest))

    assert answer.status == 422
    assert answer.problem()["errors"]
    assert newest_job(live) == before


@pytest.mark.parametrize("value", ["[" * 900 + "]" * 900, "1" + "0" * 4000, '"\\u0000"', "1e999"])
def test_a_value_of_a_study_that_is_no_setting_is_422(live, value):
    study = (
        f'{{"kind": "study", "dataset": "{live.ids["dataset_id"][0]}", "student": "teacher",'
        f'"teachers": {{"a": "{live.ids["teacher_id"][0]}"}},'
        f'"matrices": [{{"axes": [{{"field": "method.top_k", "values": [{value}]}}]}}]}}'
    )

    answer = ask(live, b"/v1/jobs?team=vision", b"POST", headers=JSON, body=study.encode())

    assert answer.status == 422
    assert answer.problem()["code"] == "invalid_request"


def test_a_study_of_more_students_than_there_are_atoms_is_refused_at_once(live):
    fields = ["method.alpha", "method.beta", "method.gamma", "method.delta", "training.seed"]
    axes = [{"field": field, "values": list(range(64))} for field in fields]
    study = {
        "kind": "study",
        "dataset": live.ids["dataset_id"][0],
        "student": "teacher",
        "teachers": {"a": live.ids["teacher_id"][0]},
        "matrices": [{"axes": axes}] * 32,
    }

    answer = ask(live, b"/v1/jobs", b"POST", headers=JSON, body=json.dumps(study).encode())

    assert "at most 500" in answer.problem()["detail"]


@pytest.mark.parametrize(
    "folder",
    ["/etc", "/proc/self/root", "{root}/../../../etc", "{root}/digits/../../data", "relative", "~"],
)
def test_a_folder_outside_the_roots_is_refused_and_not_looked_into(live, folder):
    where = folder.format(root=live.folder / "datasets")
    body = json.dumps({"name": "d", "folder": where, "team": TEAM}).encode()

    answer = ask(live, b"/v1/datasets", b"POST", headers=JSON, body=body)

    assert answer.status in (403, 422)
    assert "exist" not in answer.problem()["detail"]  # what there is, is nobody's business
