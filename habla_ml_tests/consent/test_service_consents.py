"""The register's file and the service's consents as one register."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from habla_ml.consent.admission import Consents, load_consents, open_admission
from habla_ml.inbox.consents import NewConsent, mark_erased, record_consent, withdraw_consents
from habla_ml.inbox.database import open_database
from habla_ml.lake.factory import open_lake
from habla_ml.settings import Settings
from habla_ml_tests.testing.deployment_settings import write_settings

NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
TODAY = date(2026, 11, 29)


def make_settings(folder: Path, *entries: dict[str, Any], **consent: Any) -> Settings:
    (folder / "consents.yaml").write_text(yaml.safe_dump({"contributors": list(entries)}), "utf-8")
    return write_settings(folder, consent={"registry": "consents.yaml", **consent})


def record(settings: Settings, contributor: str = "C-17", **fields: Any) -> None:
    values = {"document_version": 1, "minor": False, "guardian": False, "given_at": NOW, **fields}
    with open_database(settings).write() as connection:
        record_consent(connection, NewConsent(str(uuid4()), contributor, "voice", document_digest="0", **values))


def withdraw(settings: Settings) -> None:
    with open_database(settings).write() as connection:
        withdraw_consents(connection, "c-17", LATER)


def explain(settings: Settings, speaker: str = "c-17") -> str | None:
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    return open_admission(lake, load_consents(settings, LATER)).explain_refusal("upload-1", speaker, "s", "a" * 64)


def test_an_uploaded_clip_is_admitted_while_its_contributor_consents(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    record(settings)
    assert explain(settings, "c-17") is None
    withdraw(settings)
    assert explain(settings, " C-17") == "the consent of its contributor was withdrawn on 2026-11-29"
    with open_database(settings).write() as connection:
        mark_erased(connection, "c-17", LATER)
    assert explain(settings) == "the consent of its contributor was withdrawn on 2026-11-29"
    record(settings, given_at=LATER + timedelta(seconds=1))
    assert explain(settings) is None


@pytest.mark.parametrize(
    ("fields", "oldest_version", "reason"),
    [
        ({"minor": True}, 1, "its contributor is a minor and no guardian has consented yet"),
        ({"minor": True, "guardian": True}, 1, None),
        ({"document_version": 1}, 2, "its contributor has given no consent yet"),
        ({"document_version": 2}, 2, None),
    ],
)
def test_a_clip_waits_for_the_guardian_and_for_a_consent_to_the_required_version(
    tmp_path: Path, fields: dict[str, Any], oldest_version: int, reason: str | None
) -> None:
    settings = make_settings(tmp_path, oldest_version=oldest_version)
    record(settings, **fields)
    assert explain(settings) == reason


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"given": "2026-01-01"}, None),
        ({}, "its contributor has given no consent yet"),
        ({"given": "2026-12-01"}, "its contributor has given no consent yet"),
        (
            {"given": "2026-01-01", "withdrawn": "2026-05-01"},
            "the consent of its contributor was withdrawn on 2026-05-01",
        ),
        ({"given": "2026-01-01", "minor": True}, "its contributor is a minor and no guardian has consented yet"),
        ({"given": "2026-01-01", "minor": True, "guardian_given": "2026-01-01"}, None),
    ],
)
def test_both_the_file_and_the_service_must_consent(tmp_path: Path, entry: dict[str, Any], reason: str | None) -> None:
    settings = make_settings(tmp_path, {"contributor": "C-17", "sessions": ["taller_*"], **entry})
    record(settings)
    assert explain(settings) == reason
    joined = load_consents(settings, LATER).register.find("c-17")
    assert joined is not None
    assert joined.sessions == ("taller_*",)


def test_a_withdrawal_in_the_service_counts_against_a_consent_in_the_file(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, {"contributor": "c-17", "given": "2026-01-01", "segments": ["s-1"]})
    record(settings)
    withdraw(settings)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    admission = open_admission(lake, load_consents(settings, LATER))
    assert "withdrawn on 2026-11-29" in str(admission.explain_refusal("clase", None, "s-1", "a" * 64))


def test_a_guardian_in_the_service_does_not_replace_one_that_the_file_lacks(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, {"contributor": "c-17", "given": "2026-01-01", "minor": True})
    record(settings, minor=True, guardian=True)
    assert explain(settings) == "its contributor is a minor and no guardian has consented yet"


def test_a_guardian_in_the_service_counts_for_a_minor_whom_only_the_service_knows(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, {"contributor": "c-17", "given": "2026-01-01"})
    record(settings, minor=True)
    assert explain(settings) == "its contributor is a minor and no guardian has consented yet"
    record(settings, minor=True, guardian=True)
    assert explain(settings) is None


def test_the_digest_changes_with_every_consent_and_is_the_files_own_without_a_service(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    digests = [load_consents(settings, NOW).digest]
    assert not (tmp_path / "service").exists()
    open_database(settings)
    assert load_consents(settings, NOW).digest == digests[0]
    for change in (record, withdraw):
        change(settings)
        digests.append(load_consents(settings, NOW).digest)
    newer = make_settings(tmp_path, oldest_version=2)
    digests.append(load_consents(newer, NOW).digest)
    assert len(set(digests)) == 4


def test_a_consent_between_two_looks_at_one_register_is_seen_by_the_next_tick(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    record(settings, minor=True)
    consents: Consents = load_consents(settings, NOW)
    assert [each.contributor for each in consents.awaited] == ["c-17"]
    record(settings, minor=True, guardian=True)
    assert not load_consents(settings, NOW).unchanged_since(consents.signature)


def test_days_of_consents_are_those_of_the_deployments_time_zone(tmp_path: Path) -> None:
    settings = make_settings(tmp_path).model_copy(update={"time_zone": "Pacific/Kiritimati"})  # 14 hours before UTC
    night = datetime(2026, 11, 28, 10, 30, tzinfo=UTC)
    record(settings, minor=True, guardian=True, given_at=night)
    consents = load_consents(settings, night)
    assert consents.today == date(2026, 11, 29)
    found = consents.register.find("c-17")
    assert found is not None
    assert (found.given, found.guardian_given) == (date(2026, 11, 29), date(2026, 11, 29))
