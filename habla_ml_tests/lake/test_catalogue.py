from pathlib import Path

import pytest

from habla_ml.lake import DirectoryStore, Lake, catalogue

STORED_NAMES = """
alerts/{}/{} annotations/{} bases/{}/{} bundles/{} cleanup/marks consent/tombstones contest/{}/{}/{} contests/{}
corpus/{} erasure/index fingerprints/{} first_stages/{}/checkpoint hub_datasets/{} hub_starts/{}/checkpoint
hypotheses/{}/{} label_studio/{}/pulled label_studio/{}/pushed models/{}/checkpoint models/{}/override
models/{}/plan models/{}/report models/{}/sealed models/{}/{} monitoring/{}/quality quality/good quality/hours
recordings/{} restore/inbox restore/unfinished review/latest speed/{} spending/{}/{} splits/dropped_copies splits/latest
splits/ledger tables/{} test_sets/{} trainings/{}
"""


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


def test_the_names_of_stored_pointers_do_not_change():
    """A lake of an earlier version holds pointers under these names; another name loses what they lead to."""
    families = [each.pattern for each in vars(catalogue).values() if isinstance(each, catalogue.PointerFamily)]
    names = [each for name, each in vars(catalogue).items() if name.isupper() and isinstance(each, str)]
    assert sorted([*families, *names]) == STORED_NAMES.split()


def test_the_area_of_a_pointer_is_the_first_part_of_its_name():
    assert catalogue.get_area("recordings/2026-02-16") == "recordings"
