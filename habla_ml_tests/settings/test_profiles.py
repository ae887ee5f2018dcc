"""The shipped profiles: keys that are commented out work as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from habla_ml.settings import load_settings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_COMMENTED_KEY = re.compile(r"( +)# ( *[a-z_0-9]+:.*)")


@pytest.mark.parametrize("name", ["local", "production"])
def test_a_key_counts_when_the_mark_in_front_of_it_is_removed(tmp_path: Path, name: str) -> None:
    lines = (CONFIGS / f"{name}.yaml").read_text("utf-8").splitlines()
    commented = [each for each in lines if _COMMENTED_KEY.fullmatch(each)]
    assert len(commented) == 7
    for folder in ("conventions", "recipes"):
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / folder).symlink_to(CONFIGS / folder)
    path = tmp_path / "configs" / f"{name}.yaml"
    path.write_text("\n".join(_COMMENTED_KEY.sub(r"\1\2", each) for each in lines), "utf-8")
    found = load_settings(path, {})
    assert found.corpus.hub_dataset.repository == "our-school/classroom-speech"
    assert found.training.continue_from == "newest"
    assert found.evaluation.compute_usd_per_hour is not None
    assert (found.release.hub.repository, found.release.hub.ctranslate2) == ("our-school/habla-andalusian", "folder")
