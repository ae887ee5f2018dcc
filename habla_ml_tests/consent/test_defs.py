"""The check that stops a training while a withdrawn voice is still in the lake."""

import dagster as dg
import pytest

from habla_ml.defs.consent import build_consent_checks
from habla_ml.defs.resources import build_resources
from habla_ml_tests.consent.lived_in import LivedIn, live_in, write_register
from habla_ml_tests.consent.test_erase import erase_all, replace_registry, withdraw


@pytest.fixture
def lived(tmp_path) -> LivedIn:
    return live_in(tmp_path)


def found(lived: LivedIn) -> dg.AssetCheckResult:
    (check,) = build_consent_checks(lived.world.settings)
    lake = build_resources(lived.world.settings)["lake"]
    result = check(lake=lake)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_a_withdrawn_voice_in_the_lake_turns_the_check_red_until_it_is_erased(lived):
    write_register(lived.world, {"contributor": "c-017", "given": "2026-01-01", "sessions": ["*"]})
    assert found(lived).passed
    withdraw(lived)
    red = found(lived)
    assert not red.passed
    assert "habla-ml erase --contributor c-017" in red.description
    erase_all(lived)
    assert found(lived).passed


def test_without_a_register_there_is_no_check(lived):
    assert build_consent_checks(replace_registry(lived.world.settings)) == []
