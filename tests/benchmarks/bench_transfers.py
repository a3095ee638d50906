"""A large upload and download over a line that breaks, to an API process that is killed.

    python -m tests.benchmarks.bench_transfers [--gib 2] [--breaks 10] [--kills 2]

Each way goes through a real API process and a line that carries its connections: undisturbed, then
broken so many times at even distances, of which `--kills` are a SIGKILL of the API, which starts
anew. The client is the one of `pgd upload` and `pgd download`. Needs four times the file's size
below the temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.client import Client
from pgd_core.jobs.job import Artifact, Reason
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, TrainJob
from pgd_core.store import SqlJobStore, SqlLibraryStore, open_engine
from tests.benchmarks.cut_line import Api, Line
from tests.benchmarks.tables import markdown
from tests.pgd_core.store.cluster import LEASE
from tests.servers import operator_headers, sqlite_url

MIB = 2**20
NAME = "detector.safetensors"
HEAD = ("transfer", "s", "MiB/s", "cuts", "kills", "sent twice, MiB", "peak RSS, MiB", "sha256")


@dataclass
class Transfer:
    """How one went."""

    title: str
    size: int
    taken_s: float
    cuts: int
    kills: int
    line_bytes: int  # that the line carried in the direction of the file
    peak_rss_mib: float
    right: bool

    def row(self) -> list[str]:
        """For the table."""
        return [
            self.title,
            f"{self.taken_s:.1f}",
            f"{self.size / MIB / self.taken_s:.0f}",
            str(self.cuts),
            str(self.kills),
            f"{(self.line_bytes - self.size) / MIB:.0f}",
            f"{self.peak_rss_mib:.0f}",
            "right" if self.right else "WRONG",
        ]


class Trouble:
    """Told of a client's progress, it breaks the line at even distances."""

    def __init__(self, api: Api, line: Line, size: int, breaks: int, kills: int) -> None:
        self._api, self._line = api, line
        self._marks = [round(size * (n + 1) / (breaks + 1)) for n in range(breaks)]
        every = breaks / kills if kills else breaks + 1
        self._kills = {int(every * (n + 0.5)) for n in range(kills)}
        self._broken = 0

    def __call__(self, done: int, _whole: int) -> None:
        if self._broken < len(self._marks) and done >= self._marks[self._broken]:
            if self._broken in self._kills:
                self._api.kill()
            else:
                self._line.cut()
            self._broken += 1


@dataclass
class Place:
    """A service with one client, over a line."""

    folder: Path
    database_url: str

    def run(
        self, title: str, size: int, breaks: int, kills: int, do: Callable[[Client, Trouble], bool]
    ) -> Transfer:
        """`do` with a client, while the line breaks and the API is killed; whether it was right."""
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        api = Api(data, self.database_url)
        line = Line(api.port)
        key = operator_headers(self.database_url)["Authorization"].removeprefix("Bearer ")
        try:
            with Client(line.url, api_key=key) as client:
                begun = time.perf_counter()
                right = do(client, Trouble(api, line, size, breaks, kills))
                taken_s = time.perf_counter() - begun
        finally:
            cuts = line.cuts
            line.close()
            api.stop()
        way = line.up_bytes if title.startswith("upload") else line.down_bytes
        return Transfer(title, size, taken_s, cuts, api.kills, way, api.peak_rss_mib, right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--breaks", type=int, default=10)
    parser.add_argument("--kills", type=int, default=2, help="of the breaks")
    options = parser.parse_args()
    found = measure(round(options.gib * 2**30), options.breaks, options.kills)
    table = markdown(HEAD, [transfer.row() for transfer in found])
    sys.stdout.write(f"{options.gib:g} GiB each:\n\n{table}\n")


def measure(size: int, breaks: int, kills: int) -> list[Transfer]:
    """Both ways, undisturbed and disturbed."""
    found = []
    with tempfile.TemporaryDirectory(prefix="pgd-transfers-") as name, own_memory(Path(name)):
        place = Place(Path(name), sqlite_url(Path(name)))
        file = Path(name) / "big.pth"
        sha256 = write_noise(file, size)
        for trouble in ((0, 0), (breaks, kills)):
            words = "broken" if trouble[0] else "undisturbed"
            job = new_job(place.database_url)
            found.append(place.run(f"upload, {words}", size, *trouble, sender(file, job, place)))
            get = receiver(job, sha256, Path(name) / "back")
            found.append(place.run(f"download, {words}", size, *trouble, get))
    return found


def sender(file: Path, job_id: str, place: Place) -> Callable[[Client, Trouble], bool]:
    """Sends the file; what arrived is published as the job's artifact."""

    def send(client: Client, trouble: Trouble) -> bool:
        upload = client.upload(file, trouble)
        engine = open_engine(place.database_url)
        key = SqlLibraryStore(engine).upload(upload.id).key
        arrived = place.folder / "data" / "files" / key
        with arrived.open("rb") as content, file.open("rb") as sent:
            same = _sha256(content) == _sha256(sent) == upload.sha256
        publish(SqlJobStore(engine), job_id, upload.size, upload.sha256, key)
        engine.dispose()
        return same

    return send


def receiver(job_id: str, sha256: str, target: Path) -> Callable[[Client, Trouble], bool]:
    """Gets the job's artifact, and deletes it."""

    def receive(client: Client, trouble: Trouble) -> bool:
        client.download(job_id, NAME, target, trouble)
        with target.open("rb") as content:
            same = _sha256(content) == sha256
        target.unlink()
        return same

    return receive


def new_job(database_url: str) -> str:
    """The id of a queued job."""
    engine = open_engine(database_url)
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18"))
    job = SqlJobStore(engine).submit(TrainJob(kind="train", name="a", dataset="d", model=model))
    engine.dispose()
    return job.id


def publish(jobs: SqlJobStore, job_id: str, size: int, sha256: str, key: str) -> None:
    """The job succeeds with this file."""
    taken = jobs.claim(Offer("a worker", "default"), LEASE)
    assert taken is not None
    jobs.started(taken[1])
    artifact = Artifact(job_id, 1, NAME, size, sha256, key, "application/octet-stream")
    jobs.finish(taken[1], Reason.COMPLETED, artifacts=[artifact])


def write_noise(file: Path, size: int) -> str:
    """A file that nothing can shorten; its sha256."""
    noise, digest = random.Random(0), hashlib.sha256()
    with file.open("wb") as target:
        for start in range(0, size, MIB):
            piece = noise.randbytes(min(MIB, size - start))
            digest.update(piece)
            target.write(piece)
    return digest.hexdigest()


@contextmanager
def own_memory(folder: Path) -> Iterator[None]:
    """What the client remembers of uploads lies here meanwhile."""
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CONFIG_HOME"]
        else:
            os.environ["XDG_CONFIG_HOME"] = before


def _sha256(file: object) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
