"""The page /docs and its files."""

from __future__ import annotations

import re


def test_it_loads_nothing_from_elsewhere_and_needs_no_key(world):
    page = world.caller(None).get("/docs")

    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    for file in files:
        assert world.caller(None).get(f"/{file}").status_code == 200, file


def test_only_its_own_files_are_served(world):
    for path in ("/docs/assets/", "/docs/assets/missing.js", "/docs/assets/..%2f__init__.py"):
        assert world.caller(None).get(path).status_code == 404, path
