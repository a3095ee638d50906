"""The guard over the files sees what is done to them."""

from __future__ import annotations

import os

from tests.api.hostile.watching import differences, listing


def test_what_comes_goes_or_changes_is_seen(tmp_path):
    (tmp_path / "kept").mkdir()
    for name in ("gone", "same", "other", "kept/deep"):
        (tmp_path / name).write_text("1")
    before = listing(tmp_path)

    (tmp_path / "gone").unlink()
    (tmp_path / "other").write_text("22")
    os.utime(tmp_path / "kept/deep", ns=(1, 1))
    (tmp_path / "new").symlink_to("/nowhere")

    seen = [path.removeprefix(f"{tmp_path}/") for path in differences(before, listing(tmp_path))]
    assert seen == ["gone", "kept/deep", "new", "other"]


def test_what_is_left_out_is_not_looked_at(tmp_path):
    (tmp_path / "out").mkdir()
    before = listing(tmp_path, without=(tmp_path / "out", tmp_path / "log"))

    (tmp_path / "out" / "file").write_text("")
    (tmp_path / "log").write_text("")

    assert listing(tmp_path, without=(tmp_path / "out", tmp_path / "log")) == before
