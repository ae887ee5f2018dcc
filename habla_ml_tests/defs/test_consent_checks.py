"""The check that blocks a training while a withdrawn voice is in the lake."""

from uuid import UUID

import dagster as dg
import pytest

from habla_ml.definitions import build_resources
from habla_ml.defs.corpus.consent_check import build_consent_check
from habla_ml.inbox.consents import NewConsent, record_consent, withdraw_consents
from habla_ml.inbox.database import open_database
from habla_ml.settings import Settings
from habla_ml_tests.testing.erasure import erase_all, replace_registry, withdraw
from habla_ml_tests.testing.full_lake import ENROLLED_SPEAKER, FullLake, make_full_lake, write_register
from habla_ml_tests.testing.habla_sessions import NOW


@pytest.fixture
def full_lake(tmp_path) -> FullLake:
    return make_full_lake(tmp_path)


def run_consent_check(full_lake: FullLake, settings: Settings | None = None) -> dg.AssetCheckResult:
    check = build_consent_check(settings or full_lake.workspace.settings)
    lake = build_resources(full_lake.workspace.settings)["lake"]
    result = check(lake=lake)
    assert isinstance(result, dg.AssetCheckResult)
    return result


@pytest.mark.long
def test_the_check_fails_until_a_withdrawn_voice_is_erased(full_lake):
    write_register(full_lake.workspace, {"contributor": "c-017", "given": "2026-01-01", "sessions": ["*"]})
    assert run_consent_check(full_lake).passed
    withdraw(full_lake)
    red = run_consent_check(full_lake)
    assert not red.passed
    assert "habla-ml erase --contributor c-017" in red.description
    erase_all(full_lake)
    assert run_consent_check(full_lake).passed


def test_a_withdrawal_in_the_service_needs_no_register(full_lake):
    settings = replace_registry(full_lake.workspace.settings)
    assert run_consent_check(full_lake, settings).passed
    with open_database(settings).write() as connection:
        given = NewConsent(str(UUID(int=1)), ENROLLED_SPEAKER, "voice", 1, "0" * 64, False, False, NOW)
        record_consent(connection, given)
        withdraw_consents(connection, ENROLLED_SPEAKER, NOW)
    red = run_consent_check(full_lake, settings)
    assert (red.passed, red.metadata["days"].value) == (False, 2)
