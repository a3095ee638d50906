"""The watcher: what many listeners cost, and that none of them holds up or loses anything."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from httpx_sse import connect_sse

from api import live
from api.caller import Caller
from api.errors import NotServing
from api.live import Watcher
from api.live_lines import watcher_of
from pgd_core.jobs.job import Reason
from pgd_core.jobs.keys import Role
from pgd_core.jobs.run import ProgressLine
from tests.servers import free_port


def line(n):
    return ProgressLine(type="train", at="2026-01-02T03:04:05+00:00", iteration=n)


class Counted:
    """Counts the calls of what it stands before."""

    def __init__(self, inner):
        self.inner, self.calls = inner, []

    def marks(self, job_ids):
        self.calls.append(sorted(job_ids))
        return self.inner.marks(job_ids)

    def good_keys(self, key_ids):
        return self.inner.good_keys(key_ids)

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self.inner(*arguments)


@pytest.fixture
def counted(world):
    """A watcher over the world's database, what it asks for marks, and for lines."""
    real = watcher_of(world.services.jobs._engine)
    marks, reads = Counted(real._store), Counted(real._read)
    watcher = Watcher(marks, reads, poll_s=0.02)
    yield watcher, marks, reads
    watcher.close()
    real.close()


@pytest.fixture
def caller(world):
    return Caller.of(world.services.keys.create("listener", "default", Role.VIEWER)[0])


async def listen(watcher, caller, job_id, series="metrics", after=0):
    """The numbers of all lines up to the end."""
    numbers, ended = [], False
    async for text in watcher.listener(caller, job_id, series, after).stream():
        numbers += ids_in(text)
        ended |= "event: end" in text.splitlines()
    return numbers, ended


def ids_in(text):
    """The numbers of the lines in a piece of a stream."""
    return [int(each.removeprefix("id: ")) for each in text.splitlines() if each.startswith("id: ")]


def test_a_hundred_listeners_ask_the_database_as_one_does_and_lose_nothing(world, counted, caller):
    watcher, marks, reads = counted
    job, claim = world.running()

    async def go():
        listeners = [
            asyncio.create_task(listen(watcher, caller, job.id, ("metrics", "events")[n % 2]))
            for n in range(100)
        ]
        while len(watcher._listeners) < 100:
            await asyncio.sleep(0.01)
        for n in range(20):
            await asyncio.to_thread(world.beat, claim, line(2 * n), line(2 * n + 1))
            await asyncio.sleep(0.005)
        await asyncio.to_thread(world.services.jobs.finish, claim, Reason.COMPLETED)
        return await asyncio.gather(*listeners)

    found = asyncio.run(go())

    assert found[::2] == [(list(range(1, 41)), True)] * 50
    assert found[1::2] == [([1, 2, 3, 4], True)] * 50
    assert all(ids == [job.id] for ids in marks.calls)
    live_reads = [call for call in reads.calls if call[3] == live.REMEMBERED]
    assert len(live_reads) <= 2 * len(marks.calls)  # one for each series and look, at most
    replays = [call for call in reads.calls if call[3] == live.PAGE]
    assert len(replays) <= 100  # what was there before a listener came, once for each


def test_what_is_older_than_what_is_remembered_comes_from_the_database(
    world, counted, caller, monkeypatch
):
    monkeypatch.setattr(live, "REMEMBERED", 5)
    monkeypatch.setattr(live, "PAGE", 7)
    job, claim = world.running()
    world.beat(claim, *(line(n) for n in range(30)))

    async def go():
        quick = asyncio.create_task(listen(counted[0], caller, job.id, after=25))
        await asyncio.to_thread(world.beat, claim, *(line(n) for n in range(40)))
        slow = asyncio.create_task(listen(counted[0], caller, job.id))
        await asyncio.to_thread(world.services.jobs.finish, claim, Reason.COMPLETED)
        return await asyncio.gather(quick, slow)

    quick, slow = asyncio.run(go())

    assert quick == (list(range(26, 71)), True)
    assert slow == (list(range(1, 71)), True)


def test_a_listener_that_does_not_read_holds_up_nobody_and_misses_nothing(world, counted, caller):
    job, claim = world.running()

    async def go():
        lazy = counted[0].listener(caller, job.id, "metrics", 0).stream()
        await anext(lazy)
        quick = asyncio.create_task(listen(counted[0], caller, job.id))
        for n in range(50):
            await asyncio.to_thread(world.beat, claim, line(n))
        await asyncio.to_thread(world.services.jobs.finish, claim, Reason.COMPLETED)
        first = await quick
        late = [number async for text in lazy for number in ids_in(text)]
        return first, late

    (first, ended), late = asyncio.run(go())
    assert ended
    assert first == late == list(range(1, 51))


def test_a_stream_of_a_job_that_moved_to_another_team_ends(world, counted, caller):
    world.team("other")
    job_id = world.submitted()

    async def go():
        stream = counted[0].listener(caller, job_id, "events", 0).stream()
        seen = [await anext(stream), await anext(stream)]
        await asyncio.to_thread(world.http.patch, f"/v1/jobs/{job_id}", json={"team": "other"})
        return seen, [text async for text in stream]

    (_, submitted), rest = asyncio.run(go())
    assert json.loads(submitted.splitlines()[0].removeprefix("data: "))["kind"] == "submitted"
    assert rest == []


def test_a_comment_keeps_a_silent_connection_open(world, counted, caller, monkeypatch):
    monkeypatch.setattr(live, "PING_S", 0.01)
    job_id = world.submitted()

    async def go():
        stream = counted[0].listener(caller, job_id, "metrics", 0).stream()
        found = [await anext(stream) for _ in range(3)]
        await stream.aclose()
        return found

    assert asyncio.run(go()) == [": from here on\n\n", *[": ping\n\n"] * 2]


def test_there_are_so_many_listeners_and_no_more(world, caller, monkeypatch):
    monkeypatch.setattr(live, "MOST_LISTENERS", 0)

    with pytest.raises(NotServing, match="come again"):
        world.services.live.listener(caller, "1", "events", 0)
    answer = world.http.get(f"/v1/jobs/{world.submitted()}/events/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_serving")


def test_the_watcher_rests_when_nobody_listens(world, counted, caller):
    watcher, marks, _ = counted
    job_id = world.submitted()
    world.http.post(f"/v1/jobs/{job_id}:cancel")

    assert asyncio.run(listen(watcher, caller, job_id, "events")) == ([1, 2], True)

    thread = watcher._thread
    if thread is not None:
        thread.join(10)
    assert watcher._thread is None
    looks = len(marks.calls)
    assert asyncio.run(listen(watcher, caller, job_id, "events", after=1)) == ([2], True)
    assert len(marks.calls) > looks


def test_streams_end_in_order_when_the_process_is_stopped(world):
    port = free_port()
    settings = {"PGD_DATA_FOLDER": str(world.settings.data_folder), "PGD_PORT": str(port)}
    job_id = world.submitted()
    process = subprocess.Popen(
        [sys.executable, "-m", "api.serve"],
        env=os.environ | settings,
        stderr=subprocess.DEVNULL,
    )
    try:
        headers = {"Authorization": f"Bearer {world.secret}"}
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
            deadline = time.monotonic() + 60
            while True:
                try:
                    http.get("/livez")
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline
            with connect_sse(http, "GET", f"/v1/jobs/{job_id}/events/stream") as source:
                messages = source.iter_sse()
                while not next(messages).data:
                    pass
                process.send_signal(signal.SIGTERM)
                rest = list(messages)  # no error: the answer ends as HTTP says
        assert [message for message in rest if message.event == "end"] == []
        assert process.wait(9) == 0  # before uvicorn would break connections off
    finally:
        process.kill()
        process.wait()
