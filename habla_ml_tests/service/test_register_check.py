"""What the register's file says counts when a device sends something, not only in the pipeline."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from habla_ml.inbox.clips import derive_clip_id
from habla_ml.recordings.segments import segment_id
from habla_ml.recordings.upload_names import UPLOAD_SOURCE, get_upload_session_id
from habla_ml_tests.service.test_clips_api import CLIP, expect_problem
from habla_ml_tests.service.test_consents_api import ConsentingPhone
from habla_ml_tests.testing.deployment_settings import PROJECT
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.service_client import ServiceUnderTest

OTHER = str(UUID(int=9))
GIVEN = {"given": "2026-01-12"}
WITHDRAWN = {**GIVEN, "withdrawn": "2026-05-02"}


class RegisteredPhone(ConsentingPhone):
    """A device of a deployment whose register has an entry."""

    def __init__(self, folder: Path, **consent: Any) -> None:
        self.registry = folder / "consents.yaml"
        self.write_entry(contributor="c-99")
        documents = str(PROJECT / "configs" / "consents")
        sections = {"registry": str(self.registry), "documents": documents, **consent}
        super().__init__(ServiceUnderTest(folder, consent=sections))

    def write_entry(self, **entry: Any) -> None:
        self.registry.write_text(yaml.safe_dump({"contributors": [entry]}), "utf-8")


@pytest.fixture
def phone(tmp_path: Path) -> RegisteredPhone:
    return RegisteredPhone(tmp_path)


def test_a_voice_that_is_withdrawn_in_the_file_is_refused_from_then_on(phone: RegisteredPhone) -> None:
    assert phone.consent().json()["stands"] is True
    assert phone.put(b"voz uno").status_code == 201
    phone.write_entry(contributor="C-17", **WITHDRAWN)
    expect_problem(phone.put(b"voz dos", clip_id=OTHER), 403, "no-consent")
    assert phone.put(b"voz uno").json()["status"] == "held"
    (result,) = phone.correct("el secreto", CLIP).json()["results"]
    assert (result["status"], result["type"]) == ("rejected", "/problems/no-consent")
    assert phone.request("GET", "/v1/contributors/c-17").json()["stands"] is False
    assert phone.consent().json()["stands"] is False
    assert phone.list_files() == [b"voz uno"]
    phone.write_entry(contributor="c-17", **GIVEN)
    assert phone.put(b"voz dos", clip_id=OTHER).status_code == 201


def test_an_entry_starts_on_its_day_and_one_without_a_consent_is_refused(phone: RegisteredPhone) -> None:
    phone.consent()
    phone.write_entry(contributor="c-17", given="2026-11-30")
    expect_problem(phone.put(b"voz"), 403, "no-consent")
    phone.service.now += timedelta(hours=17)
    assert phone.put(b"voz").status_code == 201
    phone.write_entry(contributor="c-17", minor=True, **GIVEN)
    expect_problem(phone.put(b"voz", clip_id=OTHER), 403, "no-consent")


def test_a_claim_on_a_session_or_a_segment_counts_too(phone: RegisteredPhone) -> None:
    phone.consent()
    device_id = phone.device.device.device_id
    session = get_upload_session_id(device_id, "3A")
    segment = segment_id(UPLOAD_SOURCE, session, derive_clip_id(device_id, CLIP))
    for claim in ({"sessions": [session]}, {"segments": [segment]}, {"speakers": [{"label": "c-17"}]}):
        phone.write_entry(contributor="p-9", **WITHDRAWN, **claim)
        expect_problem(phone.put(b"voz"), 403, "no-consent")
    phone.write_entry(contributor="p-9", **WITHDRAWN, sessions=["upload-z*"], segments=[OTHER])
    assert phone.put(b"voz").status_code == 201


def test_where_no_consent_is_required_only_a_withdrawal_is_refused(tmp_path: Path) -> None:
    phone = RegisteredPhone(tmp_path, required=False)
    phone.write_entry(contributor="c-17")
    assert phone.put(b"voz").status_code == 201
    phone.write_entry(contributor="c-17", withdrawn="2026-05-02")
    expect_problem(phone.put(b"otra", clip_id=OTHER), 403, "no-consent")


def test_a_file_that_cannot_be_read_stops_uploads_until_it_is_repaired(phone: RegisteredPhone) -> None:
    give_consent(phone.service.state.database, "c-17")
    phone.registry.write_text("contributors: [", "utf-8")
    expect_problem(phone.put(b"voz"), 503, "unavailable", retryable=True)
    expect_problem(phone.correct("hola", CLIP), 503, "unavailable", retryable=True)
    assert phone.service.client.get("/readyz").json()["failed"] == ["consents"]
    phone.registry.unlink()
    expect_problem(phone.put(b"voz"), 503, "unavailable", retryable=True)
    phone.write_entry(contributor="c-18")
    assert phone.put(b"voz").status_code == 201
    assert phone.service.client.get("/readyz").status_code == 200
