import pytest

from habla_ml.model_version import (
    is_subset_run,
    is_version,
    parent_version,
    replicate_name,
    subset_run_name,
    version_number,
)


@pytest.mark.parametrize(
    ("name", "number", "parent"),
    [
        ("v1", 1, None),
        ("v12", 12, None),
        ("v2-s2", 0, "v2"),
        ("v12-s10", 0, "v12"),
        ("v12-p5", 0, "v12"),
        ("v2-s1", 0, None),
        ("v2-p100", 0, None),
        ("v0", 0, None),
        ("v01", 0, None),
        ("v²", 0, None),
        ("v2-s2-s2", 0, None),
        ("experiment", 0, None),
    ],
)
def test_only_versions_have_a_number_and_only_replicates_a_parent(name: str, number: int, parent: str | None) -> None:
    assert (version_number(name), parent_version(name)) == (number, parent)
    assert is_version(name) == bool(number or parent)


def test_a_replicate_is_named_after_its_version() -> None:
    assert parent_version(replicate_name("v3", 2)) == parent_version(subset_run_name("v3", 25)) == "v3"
    assert [is_subset_run(each) for each in ("v3", "v3-s2", "v3-p25")] == [False, False, True]
