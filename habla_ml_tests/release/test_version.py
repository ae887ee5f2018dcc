from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from habla_ml.errors import ReleaseError
from habla_ml.export.zip_folder import zip_folder
from habla_ml.release.version import ReleaseVersion, parse_model_number


def test_a_version_contains_the_day_and_the_model() -> None:
    assert str(ReleaseVersion(date(2026, 11, 21), "v2", 7)) == "2026.11.21-v2"
    assert str(ReleaseVersion(date(2027, 1, 3), "v12", 8, rebuild=2)) == "2027.01.03-v12.2"


def test_model_versions_are_compared_as_numbers() -> None:
    assert parse_model_number("v10") > parse_model_number("v9")


@pytest.mark.parametrize("name", ["", "2", "v", "v0", "v02", "v-1", "v1.0", "v2\n"])
def test_an_invalid_model_version_is_an_error(name: str) -> None:
    with pytest.raises(ReleaseError, match=r"invalid model version .*; use v1, v2, v3"):
        parse_model_number(name)


def test_the_same_folder_is_the_same_archive_whatever_its_dates(tmp_path: Path) -> None:
    archives = []
    for at, order in enumerate((["b", "a"], ["a", "b"])):
        folder = tmp_path / str(at)
        folder.mkdir()
        for name in order:
            (folder / name).write_text(name)
            (folder / name).chmod(0o600 + at)
        archives.append(zip_folder(folder, tmp_path / f"{at}.zip").read_bytes())
    assert archives[0] == archives[1]
