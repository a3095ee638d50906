"""What people do meanwhile: submit, cancel, pause and resume over HTTP, and try again until the
service has answered."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

import httpx

from tests.end_to_end.faults.service import Service
from tests.end_to_end.faults.trainer import Plan

TEAMS = {"red": 1.0, "green": 1.0, "blue": 2.0}
_AGAIN_S = 0.3
_ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class People:
    """Threads of callers; `ids` are the jobs that the service has acknowledged."""

    service: Service
    random: random.Random
    ids: dict[str, str] = field(default_factory=dict)  # by idempotency key
    asked: dict[str, int] = field(default_factory=dict)  # how many of what
    stopped: Event = field(default_factory=Event)
    wanted: int = 0  # jobs that are to be submitted
    datasets: dict[str, str] = field(default_factory=dict)  # of each team

    def begin(self, jobs: int, within_s: float) -> Thread:
        """Submit so many jobs, some of them at once, spread over the time."""
        self.wanted = jobs
        self.datasets = {team: self.service.add_dataset(team) for team in TEAMS}
        moments = sorted(self.random.uniform(0, within_s) for _ in range(jobs // 8))
        moments = sorted(self.random.choice(moments) for _ in range(jobs))
        thread = Thread(target=self._submit_all, args=(moments,), name="people", daemon=True)
        thread.start()
        return thread

    def _submit_all(self, moments: list[float]) -> None:
        began, others = time.monotonic(), []
        with self._client() as http:
            for number, moment in enumerate(moments):
                self.stopped.wait(max(0.0, began + moment - time.monotonic()))
                job_id = self._submit(http, number)
                if (then := self._what_next()) is not None:
                    others.append(Thread(target=then, args=(job_id,), daemon=True))
                    others[-1].start()
        for thread in others:
            thread.join()

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.service.url,
            headers=self.service.headers,
            timeout=5,
            trust_env=False,
        )

    def _submit(self, http: httpx.Client, number: int) -> str:
        rng, key = self.random, f"chaos-{number}"
        plan = Plan(
            steps=rng.randint(20, 100),
            step_s=0.05,
            every=10,
            deaf=int(rng.random() < 0.03),
            tag=number,
        )
        query = {
            "team": rng.choice(list(TEAMS)),
            "priority": rng.choices(["normal", "high", "low"], [8, 1, 1])[0],
            "gpus": 2 if rng.random() < 0.1 else 1,
        }
        dataset = {"dataset": self.datasets[query["team"]]}
        body = self.service.spec(plan).model_dump(mode="json") | dataset
        while True:
            try:
                answer = http.post(
                    "/v1/jobs", json=body, params=query, headers={"Idempotency-Key": key}
                )
                if answer.status_code == 202:
                    self.ids[key] = answer.json()["id"]
                    return self.ids[key]
                assert answer.status_code >= 500, answer.text
            except httpx.HTTPError:
                pass
            time.sleep(_AGAIN_S)

    def _what_next(self) -> Callable[[str], None] | None:
        what = self.random.choices([None, "cancel", "pause"], [80, 8, 12])[0]
        if what is None:
            return None
        self.asked[what] = self.asked.get(what, 0) + 1
        wait_s, rest_s = self.random.uniform(0, 8), self.random.uniform(0, 5)

        def do(job_id: str) -> None:
            time.sleep(wait_s)
            self._ask(job_id, what)
            if what == "pause":
                time.sleep(rest_s)
                self._ask(job_id, "resume")

        return do

    def _ask(self, job_id: str, verb: str) -> None:
        """Until it is done, or can no longer be; a pause that is still coming is waited for."""
        with self._client() as http:
            while True:
                try:
                    done = http.post(f"/v1/jobs/{job_id}:{verb}").status_code
                    if done < 300:
                        return
                    assert done == 409 or done >= 500, done
                    seen = http.get(f"/v1/jobs/{job_id}")
                    if done == 409 and seen.status_code == 200:
                        job = seen.json()
                        if job["state"] in _ENDED or (verb == "pause"):
                            return
                        if job["state"] == "queued":  # resumed already: the answer was lost
                            return
                except httpx.HTTPError:
                    pass
                time.sleep(_AGAIN_S)
