"""What `pgd init` writes."""

from __future__ import annotations

import re

import pytest

from api.spec_files import parse_spec
from pgd_core.jobs.field_words import fields_of_model
from pgd_core.jobs.spec import TrainingSpec, job_spec_adapter
from pgd_core.jobs.template import FILL_IN, STARTERS, template


def test_there_is_one_for_every_kind():
    assert set(STARTERS) == set(job_spec_adapter.json_schema()["discriminator"]["mapping"])


@pytest.mark.parametrize("kind", STARTERS)
def test_it_is_the_starter_with_every_default_and_ids_are_marked(kind):
    text = template(kind)

    content = parse_spec(text, "spec.yaml").content
    assert job_spec_adapter.validate_python(content) == job_spec_adapter.validate_python(
        STARTERS[kind]
    )
    values = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert all(line.endswith("# <- fill in") == (FILL_IN in line) for line in values)
    assert sum(FILL_IN in line for line in values) == str(STARTERS[kind]).count(FILL_IN)
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("kind", STARTERS)
def test_a_comment_stands_before_every_field(kind):
    lines = [line.strip() for line in template(kind).splitlines()]

    fields = [n for n, line in enumerate(lines) if re.match(r"[a-z_]+:", line)]
    assert len(fields) > 5
    assert all(lines[n - 1].startswith("# ") for n in fields)


def test_a_comment_says_meaning_unit_and_what_is_allowed():
    text = template("distill")

    assert "# Largest long side, pixels. [whole number, at least 32, at most 4096]" in text
    assert "[release, paper]" in text
    assert "[pgd or fgd or defeat or frs or fkd or fgfi or ld or none]" in text


def test_the_words_of_a_field_are_those_of_its_model():
    words = fields_of_model(TrainingSpec)["batch_size"]

    assert (words.required, words.default) == (False, 16)
    assert words.allowed == "whole number, at least 1, at most 1024"
    assert words.meaning.startswith("Images per optimiser step")
