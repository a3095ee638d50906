"""docs/spec.md is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pgd_core.jobs.reference import reference

PAGE = Path(__file__).parents[3] / "docs/spec.md"


def test_the_page_is_the_one_that_the_code_makes():
    how = "renew it: python -m pgd_core.jobs.reference > docs/spec.md"

    assert PAGE.read_text(encoding="utf-8") == reference(), how


def test_the_command_prints_the_page_without_torch():
    blocked = "import sys; sys.modules['torch'] = None; sys.modules['sqlalchemy'] = None\n"
    code = (
        blocked + "import runpy; runpy.run_module('pgd_core.jobs.reference', run_name='__main__')"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == reference()


def test_every_field_says_what_it_is_and_what_it_means():
    rows = [line for line in reference().splitlines() if line.startswith("| `")]

    assert len(rows) > 100
    assert [row for row in rows if "|  |" in row] == []


def test_every_link_leads_to_a_section():
    page = reference()
    sections = {title.lower() for title in re.findall(r"^## (.+)$", page, re.M)}

    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert {"train", "distill", "backbonespec", "pgdspec"} <= links
    assert links <= sections
