"""Large files over a line that breaks, to a real API process that is killed."""

from __future__ import annotations

import hashlib
import subprocess

import httpx
import pytest

from api.client import Client, transfers
from tests.benchmarks import bench_transfers
from tests.benchmarks.cut_line import Api
from tests.servers import migrated_url, operator_headers
from tests.worker.conftest import wait_for

TUS = {"Tus-Resumable": "1.0.0"}
MIB = 2**20


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    return migrated_url(request.param, tmp_path)


@pytest.fixture
def api(tmp_path, database_url):
    (tmp_path / "data").mkdir()
    api = Api(tmp_path / "data", database_url)
    yield api
    api.stop()


@pytest.fixture
def http(api, database_url):
    headers = operator_headers(database_url) | TUS
    url = f"http://127.0.0.1:{api.port}"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
        yield http


def endless_piece(http, address, size, api):
    """Send so many bytes of a longer piece; the API is killed while it waits for more."""
    sent = bytes(size)

    def content():
        yield sent
        arrived = api.data_folder / "unfinished" / address.rpartition("/")[2]
        wait_for(lambda: arrived.stat().st_size >= size - MIB)  # the rest waits for more to come
        api.kill()

    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    with pytest.raises(httpx.TransportError):
        http.patch(address, content=content(), headers=headers)


def test_what_was_brought_to_the_disk_outlives_a_kill_and_the_rest_is_sent_again(api, http):
    size = 40 * MIB
    begin = http.post("/v1/uploads/tus", headers={"Upload-Length": str(size)})
    address = begin.headers["location"]

    endless_piece(http, address, 35 * MIB, api)

    offset = int(http.head(address).headers["upload-offset"])
    assert 32 * MIB <= offset < 34 * MIB  # it is counted every 16 MiB, not every byte
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    last = http.patch(address, content=bytes(size - offset), headers=headers)
    assert last.status_code == 204
    upload = http.get(last.headers["content-location"]).json()
    assert upload["sha256"] == hashlib.sha256(bytes(size)).hexdigest()


def test_a_file_arrives_both_ways_however_often_the_line_breaks(monkeypatch):
    monkeypatch.setattr(transfers, "RESUME_AFTER_S", [0.05] * 200)
    found = bench_transfers.measure(24 * MIB, breaks=4, kills=1)

    assert [(each.cuts, each.kills) for each in found] == [(0, 0), (0, 0), (3, 1), (3, 1)]
    assert all(each.right for each in found)
    assert found[0].line_bytes < 24.5 * MIB
    assert all(each.peak_rss_mib < 300 for each in found)


def test_two_api_processes_take_pieces_of_one_upload(api, http, database_url):
    other = Api(api.data_folder, database_url)
    try:
        address = http.post("/v1/uploads/tus", headers={"Upload-Length": "9"}).headers["location"]
        for start in (0, 3, 6):
            url = f"http://127.0.0.1:{(other if start == 3 else api).port}{address}"
            headers = dict(http.headers) | {
                "Upload-Offset": str(start),
                "Content-Type": "application/offset+octet-stream",
            }
            answer = httpx.patch(url, content=b"abc", headers=headers, trust_env=False)
            assert answer.status_code == 204, answer.text
    finally:
        other.stop()

    upload = http.get(answer.headers["content-location"]).json()
    assert upload["sha256"] == hashlib.sha256(b"abc" * 3).hexdigest()


@pytest.mark.usefixtures("api")
def test_curl_gets_exactly_the_bytes_of_each_range(tmp_path, http, database_url):
    content = bytes(range(256)) * 4096
    file = tmp_path / "big.pth"
    file.write_bytes(content)
    job = bench_transfers.new_job(database_url)
    with Client(str(http.base_url), api_key=http.headers["authorization"][7:]) as client:
        place = bench_transfers.Place(tmp_path, database_url)
        bench_transfers.sender(file, job, place)(client, lambda _done, _whole: None)
    url = f"{http.base_url}/v1/jobs/{job}/artifacts/{bench_transfers.NAME}"
    header = f"Authorization: {http.headers['authorization']}"
    curl = ["curl", "--silent", "--fail", "--noproxy", "*", "-H", header, url]

    def got(*options):
        return subprocess.run([*curl, *options], stdout=subprocess.PIPE, check=True).stdout

    assert got() == content
    for asked, part in {
        "0-": content,
        "0-0": content[:1],
        "65535-65536": content[65535:65537],
        "1048575-": content[-1:],
        "-5": content[-5:],
        "-99999999": content,
        "1000000-99999999": content[1_000_000:],
    }.items():
        assert got("--range", asked) == part, asked
    (tmp_path / "half").write_bytes(content[:300_000])
    got("-C", "-", "-o", str(tmp_path / "half"))
    assert (tmp_path / "half").read_bytes() == content
