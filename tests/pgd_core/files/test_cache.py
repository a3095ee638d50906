from __future__ import annotations

import hashlib
import os
import threading
import time

import pytest

from pgd_core.errors import StorageUnavailable
from pgd_core.files.cache import IN_USE_S, FileCache

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cache(folder):
    return FileCache(folder, max_bytes=3 * len(CONTENT))


def get(cache, content=CONTENT, fetched=None):
    """The cache's file of that content, noting in `fetched` that it was asked for."""

    def fetch(place):
        if fetched is not None:
            fetched.append(place)
        place.write_bytes(content)

    return cache.get("big.pth", len(content), hashlib.sha256(content).hexdigest(), fetch)


def other(number):
    return bytes([number]) * len(CONTENT)


def grow_old(path):
    long_ago = time.time() - 2 * IN_USE_S
    os.utime(path, (long_ago, long_ago))


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_file_is_fetched_once_and_keeps_its_ending(cache, folder):
    fetched = []

    first, second = get(cache, fetched=fetched), get(cache, fetched=fetched)

    assert first == second
    assert (first.suffix, first.read_bytes()) == (".pth", CONTENT)
    assert len(fetched) == 1
    assert names(folder) == [first.name]


@pytest.mark.parametrize("harm", [CONTENT[:-1], b"W" + CONTENT[1:], b"", CONTENT + b"x"])
def test_a_file_that_was_truncated_or_altered_is_fetched_anew(cache, harm):
    get(cache).write_bytes(harm)

    assert get(cache).read_bytes() == CONTENT


@pytest.mark.parametrize("arrives", [CONTENT[:-1], b"W" + CONTENT[1:]])
def test_what_arrives_otherwise_than_announced_is_not_kept(cache, folder, arrives):
    with pytest.raises(StorageUnavailable, match="arrived with"):
        cache.get("big.pth", len(CONTENT), SHA256, lambda place: place.write_bytes(arrives))

    assert names(folder) == []


def test_a_fetch_that_breaks_leaves_nothing(cache, folder):
    def fetch(place):
        place.write_bytes(CONTENT[:100])
        raise StorageUnavailable("gone")

    with pytest.raises(StorageUnavailable, match="gone"):
        cache.get("big.pth", len(CONTENT), SHA256, fetch)

    assert names(folder) == []


def test_beyond_its_size_the_files_of_the_longest_ago_go_first(cache, folder):
    first, second, third = (get(cache, other(number)) for number in range(3))
    for path in (second, first, third):
        grow_old(path)
    get(cache, other(0))  # asked for just now

    fourth = get(cache, other(3))

    assert names(folder) == sorted(path.name for path in (first, third, fourth))


def test_a_file_that_was_asked_for_of_late_stays_though_the_cache_outgrows_its_size(cache, folder):
    for number in range(5):
        get(cache, other(number))

    assert len(names(folder)) == 5


def test_what_a_killed_process_left_half_fetched_goes_too(cache, folder):
    get(cache)
    left = folder / "0123abcd.part.4F2a"
    left.write_bytes(b"x" * 3 * len(CONTENT))
    grow_old(left)

    get(cache, other(1))

    assert not left.exists()


def test_many_that_ask_at_once_all_get_the_whole_file(folder):
    found, start = [], threading.Barrier(8)

    def ask():
        cache = FileCache(folder, max_bytes=1)  # each as in a process of its own
        start.wait()
        found.append(get(cache).read_bytes())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [CONTENT] * 8
    assert len(names(folder)) == 1
