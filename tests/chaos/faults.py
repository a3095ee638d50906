"""What goes wrong: faults of all kinds, at random moments."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg

from pgd_core.jobs.job import Job, JobState
from tests.end_to_end.faults.service import API, RECONCILER, WORKER, Process, Service, spoil
from tests.servers import PostgresServer
from worker.processes import members
from worker.queue import HintNotSent, HintSender

WANTED = {"worker": (3, WORKER), "reconciler": (2, RECONCILER), "api": (1, API)}


@dataclass
class Faults:
    """Breaks things, and starts again what ended, as systemd would."""

    service: Service
    postgres: PostgresServer
    random: random.Random
    lease_s: float
    done: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    _later: list[tuple[float, Callable[[], Any]]] = field(default_factory=list)
    _redis_is_up: bool = True
    _postgres_is_up: bool = True
    _coming: Counter[str] = field(default_factory=Counter)

    def one(self) -> None:
        """A fault of some kind; those that find nothing to break count for nothing."""
        kinds = [getattr(self, name) for name in dir(self) if name.startswith("fault_")]
        kind = self.random.choice(kinds)
        try:
            happened = kind()
        except (psycopg.Error, psutil.Error, OSError, HintNotSent):
            return  # what it was to break is broken already
        if happened is not False:
            self.done[kind.__name__.removeprefix("fault_").replace("_", " ")] += 1

    def look(self) -> None:
        """Do what is due, and have what ended started again after a moment."""
        now = time.monotonic()
        due = [what for at, what in self._later if at <= now]
        self._later = [(at, what) for at, what in self._later if at > now]
        for what in due:
            what()
        for kind, (count, _) in WANTED.items():
            missing = count - len(self.service.of(kind)) - self._coming[kind]
            for _ in range(missing):
                self._coming[kind] += 1
                self._in(0.2, 2.0, lambda kind=kind: self._start(kind))

    def heal(self) -> None:
        """Everything that is stopped, frozen or down runs again."""
        while self._later:
            self.look()
            time.sleep(0.05)
        for process in self.service.all():
            process.thaw()

    def _start(self, kind: str) -> None:
        self._coming[kind] -= 1
        self.restarts[kind] += 1
        self.service.start(kind, WANTED[kind][1])

    def _in(self, least_s: float, most_s: float, what: Callable[[], Any]) -> None:
        self._later.append((time.monotonic() + self.random.uniform(least_s, most_s), what))

    # Trainers and what they leave

    def fault_trainer_killed(self) -> bool:
        return self._signal_trainer(signal.SIGKILL)

    def fault_trainer_frozen(self) -> bool:
        return self._signal_trainer(signal.SIGSTOP)

    def fault_loader_killed(self) -> bool:
        found = [p for p in self._living(self._running()) if p.ppid() != 1 and p.children() == []]
        if found:
            self.random.choice(found).kill()
        return bool(found)

    def fault_checkpoint_truncated(self) -> bool:
        return self._spoil(lambda content: content[: len(content) // 2])

    def fault_checkpoint_bit_flipped(self) -> bool:
        return self._spoil(lambda content: content[:9] + bytes([content[9] ^ 1]) + content[10:])

    def _signal_trainer(self, number: signal.Signals) -> bool:
        found = self._living(self._running())
        if not found:
            return False
        process = self.random.choice(found)
        process.send_signal(number)
        if number is signal.SIGSTOP:
            self._in(0.5, 3.0, lambda: self._thaw(process))
        return True

    def _thaw(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)

    def _spoil(self, how: Callable[[bytes], bytes]) -> bool:
        job = self._running()
        return job is not None and spoil(self.service, job, how)

    def _running(self) -> Job | None:
        if not self._postgres_is_up:
            return None
        try:
            running = self.service.jobs.list(state=JobState.RUNNING)
        except Exception:  # the database is coming up
            return None
        return self.random.choice(running) if running else None

    def _living(self, job: Job | None) -> list[psutil.Process]:
        return [] if job is None else members(f"{job.id}/{job.attempt}")

    # Our processes

    def fault_worker_killed(self) -> bool:
        return self._kill("worker")

    def fault_api_killed(self) -> bool:
        return self._kill("api")

    def fault_reconciler_killed(self) -> bool:
        return self._kill("reconciler")

    def fault_worker_shut_down(self) -> bool:
        found = self._thawed("worker")
        if found:
            self.random.choice(found).popen.terminate()
        return bool(found)

    def fault_worker_frozen_for_a_moment(self) -> bool:
        return self._freeze("worker", 0.2, self.lease_s / 2)

    def fault_worker_frozen_past_its_lease(self) -> bool:
        return self._freeze("worker", 1.5 * self.lease_s, 2.5 * self.lease_s)

    def fault_reconciler_frozen(self) -> bool:
        return self._freeze("reconciler", 0.5, 2 * self.lease_s)

    def _kill(self, kind: str) -> bool:
        found = self.service.of(kind)
        if found:
            self.random.choice(found).kill()
        return bool(found)

    def _freeze(self, kind: str, least_s: float, most_s: float) -> bool:
        found = self._thawed(kind)
        if not found:
            return False
        process = self.random.choice(found)
        process.freeze()
        self._in(least_s, most_s, process.thaw)
        return True

    def _thawed(self, kind: str) -> list[Process]:
        return [process for process in self.service.of(kind) if not process.frozen]

    # Servers

    def fault_redis_flushed(self) -> bool:
        if self._redis_is_up:
            self.service.flush_redis()
        return self._redis_is_up

    def fault_redis_stopped_and_started_empty(self) -> bool:
        if not self._redis_is_up:
            return False
        self._redis_is_up = False
        self.service.stop_redis()

        def start() -> None:
            self.service.start_redis()
            self._redis_is_up = True

        self._in(0.5, 8.0, start)
        return True

    def fault_postgresql_restarted(self) -> bool:
        return self._restart_postgres(signal.SIGINT)

    def fault_postgresql_crashed(self) -> bool:
        return self._restart_postgres(signal.SIGQUIT)

    def _restart_postgres(self, how: signal.Signals) -> bool:
        if not self._postgres_is_up:
            return False
        self._postgres_is_up = False
        self.postgres.stop(how)

        def start() -> None:
            self.postgres.start()
            self._postgres_is_up = True

        self._in(0.1, 1.5, start)
        return True

    def fault_connection_dropped(self) -> bool:
        """Of those that are in a transaction, if any is."""
        query = (
            b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            b"AND datname = current_database() ORDER BY state LIKE 'active%' DESC, "
            b"state LIKE 'idle in%' DESC, random() LIMIT 2"
        )
        with psycopg.connect(self.service.database_url, connect_timeout=2) as connection:
            connection.execute(query)
        return True

    def fault_hint_ten_times(self) -> bool:
        hints = HintSender(self.service.redis.url)
        try:
            for _ in range(10):
                hints.send("default")
        finally:
            hints.close()
        return True


def processes_of(service: Service) -> list[int]:
    """Everything that was started by this service's workers and lives."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("FAULTS_FOLDER") == str(service.gates.folder)
            is_trainer = "PGD_TRAINER" in process.environ()
            if ours and is_trainer and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return [pid for pid in found if pid != os.getpid()]
