"""Specs from files: what is read, what is refused, and where it stands."""

from __future__ import annotations

import json

import pytest

from api.spec_files import MOST_BYTES, NoSpec, parse_spec, read_spec

YAML = """\
# a comment
kind: train
name: no            # a text, not false
training:
  learning_rate: 1e-4
  milestones: [0.5, .75]
  epochs: 0x10
when: 2026-01-01
quoted: "12"
nothing: ~
yes: true
"""


def test_yaml_is_read_as_yaml_1_2_reads_it():
    assert parse_spec(YAML, "s").content == {
        "kind": "train",
        "name": "no",
        "training": {"learning_rate": 1e-4, "milestones": [0.5, 0.75], "epochs": "0x10"},
        "when": "2026-01-01",
        "quoted": "12",
        "nothing": None,
        "yes": True,
    }


def test_json_is_read_as_json_even_with_tabs():
    content = {"kind": "train", "a": [1, -2.5e3, None, True, "x\ny", {}], "ü": "€"}

    for indent in (None, 2, "\t"):
        assert parse_spec(json.dumps(content, indent=indent), "s").content == content
    assert parse_spec(json.dumps(content), "s").content == content


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: 2", "s:1: anchor &x"),
        ("a: 1\nb: *x", "s:2: alias *x"),
        ("a: 1\nb:\n  c: 2\n  c: 3", "s:4: 'c' comes twice"),
        ('{"a": 1, "a": 2}', "'a' comes twice"),
        ('{\t"a": 1, "a": 2}', "'a' comes twice"),
        ("a: !!python/object/apply:os.system ['true']", "tag tag:yaml.org,2002:python"),
        ("a: !!set {x}", "tag tag:yaml.org"),
        ("[1, 2]: a", "must be a plain text"),
        ("a: 1\n---\nb: 2", "second document"),
        ("- 1", "a list"),
        ("just words", "a text"),
        ("", "empty"),
        ("a: [", "line 1"),
        ("{", "neither JSON nor YAML"),
        ("a: \x00", "not allowed"),
        ("[" * 40 + "]" * 40, "more than 32 deep"),
        ("[" * 90_000, "more than 32 deep"),
        ("a: " + "x" * MOST_BYTES, "bytes"),
    ],
)
def test_what_is_no_plain_object_is_refused_with_a_reason(text, said):
    with pytest.raises(NoSpec) as caught:
        parse_spec(text, "s")

    assert said in str(caught.value)


def test_a_merge_key_merges_nothing():
    assert parse_spec("a:\n  <<: {b: 1}", "s").content == {"a": {"<<": {"b": 1}}}


def test_fields_know_their_lines():
    file = parse_spec(YAML, "spec.yaml")

    assert file.where("/training/learning_rate") == "spec.yaml:5"
    assert file.where("/training/milestones/1") == "spec.yaml:6"
    assert file.where("/training/absent") == "spec.yaml:4"
    assert file.where("/absent") == file.where("") == "spec.yaml"


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_bytes(b"kind: \xff")

    with pytest.raises(NoSpec, match="UTF-8"):
        read_spec(file)
