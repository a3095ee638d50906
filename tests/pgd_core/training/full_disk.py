"""A trainer whose attempt folder is a file system of its own, as small as a test likes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pgd_core.jobs.run import RunSpec
from tests.pgd_core.training.processes import ENVIRONMENT, ROOT, trainer

# What is left on the small disk is copied out of it, as it goes with its processes.
_SCRIPT = """
mount -t tmpfs -o size=$1 tmpfs "$2" || exit 99
folder=$2 saved=$3 fill_after=$4 filler=
shift 4
cp "$saved/run.json" "$folder"
if [ -n "$fill_after" ]; then
    ( until [ "$(cat "$folder/progress.jsonl" 2>/dev/null | wc -l)" -ge "$fill_after" ]
      do sleep 0.02; done
      cat /dev/zero >"$folder/filling" 2>/dev/null ) &
    filler=$!
fi
"$@" >"$folder/trainer.log" 2>&1
code=$?
kill $filler 2>/dev/null  # it waits for lines that will not come, where the run ended early
rm -f "$folder/filling"
cp -a "$folder/." "$saved"
exit $code
"""


def need_small_disks(tmp_path: Path) -> None:
    """Skip where this machine mounts none for us."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


def train_on_small_disk(
    run: RunSpec, saved: Path, size: int, fill_after_lines: int | None = None
) -> int:
    """The trainer's exit status; its folder is found in `saved`.

    `fill_after_lines`: of progress; then something else takes all the room.
    """
    folder = saved.with_name(f"{saved.name}_disk")
    folder.mkdir()
    trainer(run, saved)
    command = trainer(run, saved)[:-2]
    arguments = [str(size), str(folder), str(saved), str(fill_after_lines or "")]
    inside = [*command, str(folder / "run.json"), str(folder)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", _SCRIPT, "sh", *arguments, *inside],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode != 99, "no file system could be mounted"
    return done.returncode


def used_bytes(folder: Path) -> int:
    """What the files of a folder take, in whole pages."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // 4096) * 4096 for size in sizes)
