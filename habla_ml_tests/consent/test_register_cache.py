"""The register in memory: parsed once for each state of its file."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from habla_ml.consent.register_cache import RegisterCache
from habla_ml.errors import InputUnavailableError


def test_without_a_file_the_register_is_empty() -> None:
    assert RegisterCache(None).read().contributors == ()


def test_an_unchanged_file_is_parsed_once_for_all_threads_and_a_changed_one_again(tmp_path: Path) -> None:
    path = tmp_path / "consents.yaml"
    path.write_text("contributors: [{contributor: c-1}]", "utf-8")
    cache = RegisterCache(path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.read(), range(100)))
    assert len({id(each) for each in found}) == 1
    path.write_text("contributors: [{contributor: c-2}]", "utf-8")
    os.utime(path, ns=(1, 1))
    assert [each.contributor for each in cache.read().contributors] == ["c-2"]


def test_a_damaged_file_is_an_error_each_time_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "consents.yaml"
    cache = RegisterCache(path)
    for content in (None, "contributors: 7", "contributors: [{name: x}]"):
        if content is not None:
            path.write_text(content, "utf-8")
        for _ in range(2):
            with pytest.raises(InputUnavailableError, match=r"consents\.yaml"):
                cache.read()
    path.write_text("{}", "utf-8")
    assert cache.read().contributors == ()
