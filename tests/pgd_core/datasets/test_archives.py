from __future__ import annotations

import gzip
import io
import json
import lzma
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pgd_core.datasets.__main__ import main
from pgd_core.datasets.archives import Unpacked, unpack
from pgd_core.errors import DatasetUnusable, InvalidSpec
from tests.pgd_core.datasets.hostile_archives import CASES, GOOD, SMALL, Case, tarred, zipped

PACKED: dict[str, Callable[[], bytes]] = {
    "zip": lambda: zipped([]),
    "deflated zip": lambda: zipped([], zipfile.ZIP_DEFLATED),
    "tar": lambda: tarred([]),
    "tar.gz": lambda: gzip.compress(tarred([])),
    "tar.xz": lambda: lzma.compress(tarred([])),
}


def contents(folder: Path) -> dict[str, bytes]:
    """Below it, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", PACKED)
def test_a_good_archive_appears_whole_in_a_new_folder(kind: str, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(PACKED[kind]())
    unpacked = unpack(tmp_path / "sent", tmp_path / "out", SMALL)
    assert contents(tmp_path / "out") == GOOD
    assert unpacked == Unpacked(
        usable=True,
        files=4,
        bytes=6,
        train_annotations="train.json",
        train_images="train",
        val_annotations="val.json",
        val_images="val",
    )
    assert {path.name for path in tmp_path.iterdir()} == {"sent", "out"}


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read_in_every_format_of_tar(
    format_: int, tmp_path: Path
) -> None:
    names = ["train/" + "ü" * 20 + ".jpg", "train/" + "/".join(["d" * 40] * 3) + "/1.jpg"]
    with tarfile.open(tmp_path / "sent", "w", format=format_) as archive:
        for name in [*GOOD, *names]:
            info = tarfile.TarInfo(f"./set/{name}")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        folder = tarfile.TarInfo("./set/train")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    unpacked = unpack(tmp_path / "sent", tmp_path / "out")
    assert contents(tmp_path / "out") == {f"set/{name}": b"abc" for name in [*GOOD, *names]}
    assert unpacked.train_images == "set/train"


def test_what_file_managers_leave_is_left_out(tmp_path: Path) -> None:
    rubbish = ["__MACOSX/train/._1.jpg", "train/.DS_Store", "val/Thumbs.db", "train/._1.jpg"]
    (tmp_path / "sent").write_bytes(zipped([(name, b"x") for name in rubbish]))
    assert unpack(tmp_path / "sent", tmp_path / "out").left_out == 4
    assert contents(tmp_path / "out") == GOOD


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mode, path.lstat().st_size) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_hostile_archive_is_refused_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    case.write(folder / "sent")
    before = snapshot(tmp_path)
    with pytest.raises(DatasetUnusable) as error:
        unpack(folder / "sent", folder / "out", SMALL)
    assert re.search(case.says, error.value.message)
    assert re.search("pack|send|rename|split|wanted are", error.value.message), "a way out"
    assert snapshot(tmp_path) == before
    assert not Path("/tmp/canary").exists()


def test_a_folder_that_exists_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(zipped([]))
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidSpec, match="exists"):
        unpack(tmp_path / "sent", tmp_path / "out")
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("hostile", [False, True])
def test_the_command_answers_in_a_file(hostile: bool, tmp_path: Path) -> None:
    sent, report = tmp_path / "sent", tmp_path / "report.json"
    CASES["tar: through a link"].write(sent) if hostile else sent.write_bytes(zipped([]))
    command = [sys.executable, "-m", "pgd_core.datasets", "unpack", str(sent)]
    done = subprocess.run(
        [*command, str(tmp_path / "out"), "--report", str(report)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (int(hostile), "")
    answer = json.loads(report.read_bytes())
    assert answer["usable"] is not hostile
    assert ("is a link" in answer["message"]) is hostile
    assert (tmp_path / "out").exists() is not hostile


def test_a_report_without_a_folder_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(zipped([]))
    arguments = [str(tmp_path / "sent"), str(tmp_path / "out")]
    assert main(["unpack", *arguments, "--report", str(tmp_path / "gone" / "r.json")]) == 2
    assert not (tmp_path / "out").exists()
