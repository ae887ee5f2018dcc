from pathlib import Path

import pytest

from habla_ml.lake import DirectoryStore, Lake, catalogue


def test_a_family_parses_the_names_that_it_builds():
    name = catalogue.HYPOTHESES.name("artefact", "options")
    assert name == "hypotheses/artefact/options"
    assert catalogue.HYPOTHESES.parts(name) == ("artefact", "options")


@pytest.mark.parametrize("name", ["models/v1/plan", "models/report", "models/v1/report/more", "xmodels/v1/report"])
def test_a_family_refuses_the_name_of_another_family(name):
    assert catalogue.REPORT.parts(name) is None


def test_keys_lists_only_the_pointers_of_its_family(tmp_path: Path):
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    for name in ("models/v2/report", "models/v1/report", "models/v1/plan", "modelsx/v3/report"):
        lake.move_pointer(name, {"present": True}, None)
    assert list(catalogue.REPORT.keys(lake)) == ["v1", "v2"]
    assert list(catalogue.PLAN.keys(lake)) == ["v1"]


def test_the_area_of_a_pointer_is_the_first_part_of_its_name():
    assert catalogue.get_area("recordings/2026-02-16") == "recordings"
