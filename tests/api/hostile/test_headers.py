"""Headers twice, out of range, over long, and in no known form."""

from __future__ import annotations

import json

import pytest

from tests.api.hostile.wire import JSON, UNREADABLE, Headers, ask
from tests.api.live import ARTIFACT, ARTIFACT_BYTES, MAX_UPLOAD_BYTES, Live

SIZE = len(ARTIFACT_BYTES)
KEY = b'{"name": "a", "role": "viewer"}'


def artifact(live: Live) -> bytes:
    return f"/v1/jobs/{live.ids['job_id'][0]}/artifacts/{ARTIFACT}".encode()


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"bytes=0-0", 206),
        (b"bytes=-99999", 206),
        (b"bytes=0-" + b"9" * 30, 206),
        (b"bytes=0-,0-,0-,0-", 206),
        (b"bytes=abc", 400),
        (b"bytes=5-2", 400),
        (b"bytes=", 400),
        (b"bytes=\xff-", 400),
        (b"bytes=-0", 416),
        (b"bytes=%d-" % SIZE, 416),
        (b"bytes=" + b"9" * 30 + b"-", 416),
    ],
)
def test_a_range_is_answered_with_bytes_of_the_file_or_refused(live, asked, status):
    answer = ask(live, artifact(live), headers=[(b"Range", asked)])

    assert answer.status == status
    if status >= 400:
        assert answer.problem()["code"] in ("bad_request", "range_not_satisfiable")
    else:
        assert answer.body in ARTIFACT_BYTES


def test_a_range_beyond_all_numbers_is_refused(live):
    answer = ask(live, artifact(live), headers=[(b"Range", b"bytes=" + b"9" * 5000 + b"-")])

    assert answer.problem()["status"] in (400, 416)


@pytest.mark.parametrize("pieces", [10, 500, 5000])
def test_many_ranges_never_cost_many_times_the_file(live, pieces):
    for piece in (b"0-", b"0-0", b"%d-" % (SIZE - 1)):
        asked = b"bytes=" + b",".join([piece] * pieces)
        answer = ask(live, artifact(live), headers=[(b"Range", asked)])

        assert answer.status in (200, 206, 400, 416)
        assert len(answer.body) <= 2 * SIZE


def test_of_two_ranges_the_answer_is_to_one(live):
    answer = ask(live, artifact(live), headers=[(b"Range", b"bytes=0-0"), (b"Range", b"bytes=1-1")])

    assert (answer.status, answer.body) == (206, ARTIFACT_BYTES[:1])


@pytest.mark.parametrize(
    "known", [b'"x"', b"x", b"", b'W/"x"', b"\xff", b"Wed, 99 Foo 99999", b"*"]
)
def test_an_if_range_that_is_not_this_file_s_gives_the_whole_of_it(live, known):
    headers = [(b"Range", b"bytes=0-0"), (b"If-Range", known)]

    answer = ask(live, artifact(live), headers=headers)

    assert (answer.status, answer.body) == (200, ARTIFACT_BYTES)


@pytest.mark.parametrize("known", [b'"', b",,,", b"\xff", b"W/", b'"' + b"a" * 9000, b"**"])
def test_an_if_none_match_that_is_no_tag_of_this_file_changes_nothing(live, known):
    answer = ask(live, artifact(live), headers=[(b"If-None-Match", known)])

    assert (answer.status, answer.body) == (200, ARTIFACT_BYTES)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YTpi",
        b"Bearer " + b"a" * 9000,
        b"Bearer \xff\xfe",
        b"Bearer ' OR '1'='1",
        b"Bearer %",
        b"Bearer pgd_",
        b"Bearer null",
    ],
)
def test_what_is_no_key_opens_nothing(live, sent):
    assert ask(live, b"/v1/me", headers=[(b"Authorization", sent)]).status == 401


def test_a_key_among_other_words_opens_nothing(live):
    secret = live.secrets["operator"].encode()

    for sent in (b"Bearer x " + secret, b"Bearer " + secret + b"x", secret, b"Bearer," + secret):
        assert ask(live, b"/v1/me", headers=[(b"Authorization", sent)]).status == 401
    twice = [(b"Authorization", b"Bearer " + secret)] * 2
    assert ask(live, b"/v1/me", headers=twice).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"-1")],
        [(b"Content-Length", b"2x")],
        [(b"Content-Length", b"31"), (b"Content-Length", b"2")],
        [(b"Authorization", b"Bearer a\x00b")],
        [(b"X\x00", b"a")],
        [(b"X y", b"a")],
    ],
)
def test_what_cannot_be_read_as_http_is_400(live, headers: Headers):
    answer = ask(live, b"/v1/keys", b"POST", headers=[*JSON, *headers], body=KEY)

    assert answer.status == 400
    assert answer.body == UNREADABLE.encode()


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n"])
def test_chunks_of_no_length_make_no_key(live, chunks):
    headers = [*JSON, (b"Transfer-Encoding", b"chunked")]

    assert ask(live, b"/v1/keys", b"POST", headers=headers, body=chunks).status == 400


@pytest.mark.parametrize("target", [b"/v1/keys", b"/v1/jobs", b"/v1/uploads"])
@pytest.mark.parametrize("length", [b"99999999999", b"9" * 19])
def test_a_length_beyond_the_cap_is_413_before_the_body_is_read(live, target, length):
    answer = ask(live, target, b"POST", headers=[*JSON, (b"Content-Length", length)])

    assert answer.status == 413
    assert answer.problem()["code"] == "too_large"


def test_a_body_of_unknown_length_is_cut_off_at_the_cap(live):
    piece = b"x" * 16_384
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    pieces = MAX_UPLOAD_BYTES // len(piece) + 1

    answer = ask(
        live,
        b"/v1/uploads",
        b"POST",
        headers=[(b"Transfer-Encoding", b"chunked")],
        body=chunk * pieces + b"0\r\n\r\n",
    )

    assert answer.status == 413


@pytest.mark.parametrize(
    "media_type",
    [
        b"text/plain",
        b"",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"multipart/form-data",
        b"\xff/\xff",
        b"a" * 9000,
        b"application/jsonx",
        b"application/json, text/plain",
    ],
)
def test_json_that_is_sent_as_something_else_is_not_read(live, media_type):
    headers = [(b"Content-Type", media_type)]

    problem = ask(live, b"/v1/keys", b"POST", headers=headers, body=KEY).problem()

    assert problem["code"] == "invalid_request"


def spec_of(live: Live, **rest: object) -> bytes:
    model = {"detector": "fcos", "backbone": {"name": "resnet18"}}
    spec = {"kind": "train", "dataset": live.ids["dataset_id"][0], "model": model}
    return json.dumps(spec | rest).encode()


@pytest.mark.parametrize("key", [b"", b" ", b"a" * 201, b"\xff", b"a b", b"\xc3\xa4", b"\t"])
def test_an_idempotency_key_that_is_none_is_422(live, key):
    headers = [*JSON, (b"Idempotency-Key", key)]

    problem = ask(live, b"/v1/jobs?team=vision", b"POST", headers=headers, body=spec_of(live))

    assert problem.problem()["errors"][0]["parameter"] == "idempotency-key"


def test_one_caller_s_idempotency_key_is_not_another_s(live):
    headers = [*JSON, (b"Idempotency-Key", b"../../same")]

    first, again, other = (
        ask(
            live, b"/v1/jobs?team=vision", b"POST", headers=headers, body=spec_of(live), whose=whose
        )
        for whose in ("operator", "operator", "submitter")
    )

    assert [first.status, again.status, other.status] == [202] * 3
    ids = [json.loads(answer.body)["id"] for answer in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("name", [b"../../../etc/cron.d/x", b"/etc/passwd", b"a\\..\\b", b"~/x"])
def test_the_name_of_an_upload_is_a_label_and_no_path(live, name):
    for headers, query in (([(b"X-Filename", name)], b""), ([], b"?filename=" + name)):
        answer = ask(live, b"/v1/uploads" + query, b"POST", headers=headers, body=b"x")

        assert answer.status == 201
        assert json.loads(answer.body)["filename"].encode() == name


@pytest.mark.parametrize("digest", [b"sha-256=:\xff:", b"sha-256=x", b"sha-256=:AAAA:," * 500])
def test_a_digest_that_is_none_is_400(live, digest):
    answer = ask(live, b"/v1/uploads", b"POST", headers=[(b"Repr-Digest", digest)], body=b"x")

    assert answer.status == 400
    assert answer.problem()["code"] == "bad_request"


@pytest.mark.parametrize("request_id", [b"a b", b"a" * 65, b"<script>", b"\xff", b"a\tb"])
def test_a_request_id_that_could_confuse_a_log_is_not_taken_over(live, request_id):
    assert ask(live, b"/v1/me", headers=[(b"X-Request-Id", request_id)]).status == 200
    assert f'"request_id": "{request_id.decode("latin1")}"' not in live.log()
