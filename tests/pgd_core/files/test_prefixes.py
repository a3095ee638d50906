from __future__ import annotations

import pytest

from pgd_core.errors import Forbidden, InvalidSpec
from pgd_core.files.prefixes import allowed_prefix
from pgd_core.settings import Settings

SETTINGS = Settings(
    files_url="s3://files", dataset_s3_prefixes=("s3://data/street/", "s3://whole", "s3://")
)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://data/street", ("data", "street")),
        ("s3://data/street/", ("data", "street")),
        ("s3://data/street/day/1", ("data", "street/day/1")),
        ("s3://whole", ("whole", "")),
        ("s3://whole/any", ("whole", "any")),
    ],
)
def test_what_is_below_an_allowed_prefix_may_be_fetched(url, place):
    assert allowed_prefix(url, SETTINGS) == place


@pytest.mark.parametrize(
    "url",
    ["s3://data", "s3://data/street-2", "s3://data/stree", "s3://wholesale/x", "s3://other/x"],
)
def test_what_is_not_is_forbidden_and_told_what_is(url):
    with pytest.raises(Forbidden, match=r"s3://data/street/, s3://whole.*PGD_DATASET_S3_PREFIXES"):
        allowed_prefix(url, SETTINGS)


def test_nothing_is_allowed_unless_a_setting_says_so():
    with pytest.raises(Forbidden, match="no prefix"):
        allowed_prefix("s3://data/street", Settings(files_url="s3://files"))


def test_without_files_in_s3_there_is_nothing_to_fetch_with():
    settings = Settings(dataset_s3_prefixes=("s3://data",))

    with pytest.raises(InvalidSpec, match="PGD_FILES_URL"):
        allowed_prefix("s3://data/street", settings)


@pytest.mark.parametrize("url", ["s3://data/pgd", "s3://data/pgd/uploads", "s3://data"])
def test_the_servers_own_files_are_never_fetched_whatever_is_allowed(url):
    settings = Settings(files_url="s3://data/pgd", dataset_s3_prefixes=("s3://data",))

    with pytest.raises(Forbidden, match="every team"):
        allowed_prefix(url, settings)
    assert allowed_prefix("s3://data/pgd-sets", settings) == ("data", "pgd-sets")
