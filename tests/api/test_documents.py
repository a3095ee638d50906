"""What the documents and the code say alike."""

from __future__ import annotations

import re
from pathlib import Path

from api.embedded import environment_of
from pgd_core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_is_documented_and_nothing_else():
    documented = set(re.findall(r"^\| `(PGD_\w+)`", (ROOT / "docs/settings.md").read_text(), re.M))

    assert documented == {f"PGD_{name.upper()}" for name in Settings.model_fields}


def test_settings_survive_the_way_through_the_environment(monkeypatch, tmp_path):
    settings = Settings(data_folder=tmp_path, dataset_roots=(tmp_path, Path("/b")), port=1)

    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)

    assert Settings() == settings
