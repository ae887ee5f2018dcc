"""The check that blocks a training while a withdrawn voice is in the lake."""

import dagster as dg
import pytest

from habla_ml.definitions import build_resources
from habla_ml.defs.corpus.consent_check import build_consent_checks
from habla_ml_tests.testing.erasure import erase_all, replace_registry, withdraw
from habla_ml_tests.testing.full_lake import FullLake, make_full_lake, write_register


@pytest.fixture
def full_lake(tmp_path) -> FullLake:
    return make_full_lake(tmp_path)


def run_consent_check(full_lake: FullLake) -> dg.AssetCheckResult:
    (check,) = build_consent_checks(full_lake.workspace.settings)
    lake = build_resources(full_lake.workspace.settings)["lake"]
    result = check(lake=lake)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_the_check_fails_until_a_withdrawn_voice_is_erased(full_lake):
    write_register(full_lake.workspace, {"contributor": "c-017", "given": "2026-01-01", "sessions": ["*"]})
    assert run_consent_check(full_lake).passed
    withdraw(full_lake)
    red = run_consent_check(full_lake)
    assert not red.passed
    assert "habla-ml erase --contributor c-017" in red.description
    erase_all(full_lake)
    assert run_consent_check(full_lake).passed


def test_without_a_register_there_is_no_check(full_lake):
    assert build_consent_checks(replace_registry(full_lake.workspace.settings)) == []
