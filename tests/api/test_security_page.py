"""docs/security.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_claim_of_the_security_page_leads_to_tests():
    page = (ROOT / "docs" / "security.md").read_text()
    done = page[page.index("## What is done") : page.index("## What the operator does")]
    named = set(re.findall(r"`([a-z_/]+/(?:test_\w+\.py|conftest\.py)?)`", done))

    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / "tests" / name).exists()] == []
    for claim in done.strip().split("\n\n")[1:]:
        assert re.search(r":\n?\s?`[a-z_/]+(\.py)?`", claim), claim
