"""Consents over HTTP: texts, recording, withdrawing, what is held, and the copy of it."""

import io
import json
import shutil
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response

from habla_ml.consent.admission import load_consents
from habla_ml.erasure.erase import erase_withdrawn
from habla_ml.inbox.devices import create_enrolment_code
from habla_ml_tests.service.test_clips_api import CLIP, Phone, expect_problem
from habla_ml_tests.testing.deployment_settings import PROJECT
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.recorded_days import DAY, SimulatedSegment, publish_recordings
from habla_ml_tests.testing.service_client import ServiceUnderTest

CONSENT = str(UUID(int=1))


class ConsentingPhone(Phone):
    """A device that records consents and sends clips."""

    def request(self, method: str, path: str, body: Any = None) -> Response:
        headers = {"Authorization": f"Bearer {self.device.token}"}
        return self.service.client.request(method, path, json=body, headers=headers)

    def consent(self, consent_id: str = CONSENT, **fields: Any) -> Response:
        (text,) = [each for each in self.list_texts() if each["language"] == "es"]
        body = {
            "id": consent_id,
            "contributor": "c-17",
            "document": text["document"],
            "documentVersion": text["version"],
            "documentDigest": text["digest"],
            "minor": False,
            "guardian": False,
            "givenAt": self.service.now.isoformat(),
            **fields,
        }
        return self.request("POST", "/v1/consents", body)

    def list_texts(self) -> list[dict[str, Any]]:
        texts: list[dict[str, Any]] = self.request("GET", "/v1/consent-documents").json()["documents"]
        return texts

    def correct(self, text: str, clip_id: str) -> Response:
        item = {"id": clip_id, "recordingItemID": clip_id, "correctedTranscription": text}
        timestamp = self.service.now.isoformat()
        return self.request("POST", "/v1/batches", {"items": [{**item, "timestamp": timestamp}]})


@pytest.fixture
def service(tmp_path: Path) -> ServiceUnderTest:
    shutil.copytree(PROJECT / "configs" / "consents", tmp_path / "configs" / "consents")
    return ServiceUnderTest(tmp_path)


@pytest.fixture
def phone(service: ServiceUnderTest) -> ConsentingPhone:
    return ConsentingPhone(service)


def make_free_service(folder: Path) -> ServiceUnderTest:
    """Return a service that requires no consent."""
    documents = str(PROJECT / "configs" / "consents")
    return ServiceUnderTest(folder, consent={"required": False, "documents": documents})


def erase_all(service: ServiceUnderTest) -> None:
    erase_withdrawn(service.state.lake, service.state.settings, service.now)


def test_a_person_reads_a_text_consents_uploads_withdraws_and_nothing_is_left(phone: ConsentingPhone) -> None:
    expect_problem(phone.put(b"voz uno"), 403, "no-consent")
    answer = phone.consent()
    assert (answer.status_code, answer.json()["stands"]) == (201, True)
    assert phone.put(b"voz uno").status_code == 201
    assert phone.request("GET", "/v1/contributors/C-17").json()["clips"] == 1
    phone.service.now += timedelta(minutes=1)
    for method in ("DELETE", "DELETE", "GET"):
        withdrawn = phone.request(method, f"/v1/consents/{CONSENT}")
        assert withdrawn.status_code == 200
        assert (withdrawn.json()["stands"], withdrawn.json()["erasedAt"]) == (False, None)
        assert withdrawn.json()["withdrawnAt"] == "2026-11-29T06:31:00Z"
    expect_problem(phone.put(b"voz dos", clip_id=str(UUID(int=9))), 403, "no-consent")
    erase_all(phone.service)
    assert phone.list_files() == []
    assert phone.request("GET", f"/v1/consents/{CONSENT}").json()["erasedAt"] is not None
    assert phone.request("GET", "/v1/contributors/c-17").json()["clips"] == 0


def test_reading_a_consent_withdraws_nothing_and_no_other_device_can_read_it(phone: ConsentingPhone) -> None:
    phone.consent()
    assert phone.request("GET", f"/v1/consents/{CONSENT}").json()["withdrawnAt"] is None
    assert phone.put(b"voz").status_code == 201
    expect_problem(ConsentingPhone(phone.service).request("GET", f"/v1/consents/{CONSENT}"), 404, "not-found")


def test_the_same_consent_again_succeeds_and_other_content_is_a_conflict(phone: ConsentingPhone) -> None:
    assert phone.consent().status_code == 201
    assert phone.consent().status_code == 200
    conflict = phone.consent(minor=True)
    expect_problem(conflict, 409, "conflict")
    assert conflict.json()["detail"] == "the id is used for another consent; make a new id"


def test_a_minor_without_a_guardian_is_recorded_but_may_not_upload(phone: ConsentingPhone) -> None:
    answer = phone.consent(minor=True)
    assert (answer.status_code, answer.json()["stands"]) == (201, False)
    expect_problem(phone.put(b"voz"), 403, "no-consent")
    assert phone.consent(str(UUID(int=2)), minor=True, guardian=True).json()["stands"]
    assert phone.put(b"voz").status_code == 201


@pytest.mark.parametrize(
    "fields",
    [
        {"givenAt": "2026-11-29T06:30:00"},
        {"contributor": "\u200b"},
        {"guardian": "yes"},
        {"name": "Lucía"},
    ],
)
def test_a_consent_with_a_wrong_value_is_refused(phone: ConsentingPhone, fields: dict[str, Any]) -> None:
    expect_problem(phone.consent(**fields), 422, "invalid")
    assert load_consents(phone.service.state.settings, phone.service.now).register.contributors == ()


@pytest.mark.parametrize("fields", [{"documentDigest": "0" * 64}, {"documentVersion": 2}, {"document": "other"}])
def test_a_consent_to_a_text_that_is_not_in_use_is_refused(phone: ConsentingPhone, fields: dict[str, Any]) -> None:
    expect_problem(phone.consent(**fields), 404, "not-found")


def test_a_consent_from_the_future_is_refused_and_one_from_a_slightly_wrong_clock_is_not(
    phone: ConsentingPhone,
) -> None:
    expect_problem(phone.consent(givenAt="2026-11-29T06:41:00Z"), 409, "clock-ahead", retryable=True)
    assert phone.consent(givenAt="2026-11-29T06:39:00Z").json()["stands"]


def test_a_new_consent_waits_for_the_erasure_and_must_be_newer(phone: ConsentingPhone) -> None:
    phone.consent()
    phone.service.now += timedelta(minutes=1)
    phone.request("DELETE", f"/v1/consents/{CONSENT}")
    other = str(UUID(int=2))
    expect_problem(phone.consent(other, givenAt="2026-11-29T06:30:30Z"), 409, "conflict")
    phone.service.now += timedelta(minutes=1)
    pending = phone.consent(other)
    expect_problem(pending, 409, "erasure-pending", retryable=True)
    assert pending.headers["retry-after"] == "600"
    erase_all(phone.service)
    assert phone.consent(other).json()["stands"]


def test_a_device_learns_nothing_of_the_contributors_of_others(phone: ConsentingPhone) -> None:
    phone.consent()
    give_consent(phone.service.state.database, "c-18")
    other = ConsentingPhone(phone.service)
    unknown, held = (other.request("DELETE", f"/v1/consents/{UUID(int=number)}") for number in (7, 1))
    assert (unknown.status_code, unknown.content) == (404, held.content)
    for path in ("", "/export"):
        found = [other.request("GET", f"/v1/contributors/{name}{path}") for name in ("c-17", "c-18", "nobody")]
        assert {(each.status_code, each.content) for each in found} == {(404, found[0].content)}
    assert other.consent(contributor="c-20").status_code == 201  # the same id as of the first device
    expect_problem(other.consent(str(UUID(int=3))), 403, "forbidden")


def test_where_no_consent_is_required_a_device_takes_no_clips_of_others_with_its_first_consent(tmp_path: Path) -> None:
    phone, other = (ConsentingPhone(each) for each in [make_free_service(tmp_path)] * 2)
    assert phone.put(b"voz uno").status_code == 201
    expect_problem(other.consent(contributor="C-17"), 403, "forbidden")
    for path in ("", "/export"):
        expect_problem(other.request("GET", f"/v1/contributors/c-17{path}"), 404, "not-found")
    assert phone.consent().json()["stands"]
    assert phone.request("GET", "/v1/contributors/c-17").json()["clips"] == 1


def test_a_device_takes_no_recordings_that_no_device_sent_with_its_first_consent(phone: ConsentingPhone) -> None:
    state = phone.service.state
    publish_recordings(state.lake, DAY, [SimulatedSegment("3A", 1, speaker="Lucía")], state.settings.work_folder)
    expect_problem(phone.consent(contributor="LUCÍA"), 403, "forbidden")
    give_consent(state.database, "Lucía")  # as a person does on the page
    expect_problem(phone.consent(contributor="LUCÍA"), 403, "forbidden")
    assert phone.consent(contributor="Luc").json()["stands"]


@pytest.mark.parametrize("label", ["Speaker A", "SPEAKER_00", "hablante 2", "Unknown"])
def test_a_device_takes_no_label_that_recordings_to_come_give_to_any_voice(phone: ConsentingPhone, label: str) -> None:
    expect_problem(phone.consent(contributor=label), 403, "forbidden")
    assert phone.consent(contributor="ponente-1").json()["stands"]


def test_a_phone_whose_token_has_expired_withdraws_and_corrects_after_its_renewal(phone: ConsentingPhone) -> None:
    phone.consent()
    assert phone.put(b"voz uno").status_code == 201
    service = phone.service
    service.now += timedelta(days=400)
    expect_problem(phone.request("GET", f"/v1/consents/{CONSENT}"), 401, "unauthenticated")
    code = create_enrolment_code(service.state.database, "a phone", service.now, timedelta(hours=1))
    assert phone.request("POST", "/v1/devices", {"code": code}).status_code == 201
    (result,) = phone.correct("Hola.", CLIP).json()["results"]
    assert result["status"] == "accepted"
    assert phone.request("DELETE", f"/v1/consents/{CONSENT}").json()["withdrawnAt"]


def test_where_no_consent_is_required_who_withdrew_is_refused_until_a_new_consent(tmp_path: Path) -> None:
    phone = ConsentingPhone(make_free_service(tmp_path))
    phone.consent()
    assert phone.put(b"voz uno").status_code == 201
    phone.service.now += timedelta(minutes=1)
    phone.request("DELETE", f"/v1/consents/{CONSENT}")
    (result,) = phone.correct("el secreto", CLIP).json()["results"]
    assert result["type"] == "/problems/no-consent"
    for _ in ("before the erasure", "after it"):
        expect_problem(phone.put(b"voz dos", str(UUID(int=9))), 403, "no-consent")
        erase_all(phone.service)
    assert phone.list_files() == []
    phone.service.now += timedelta(minutes=1)
    assert phone.consent(str(UUID(int=2))).json()["stands"]
    assert phone.put(b"voz dos", str(UUID(int=9))).status_code == 201


def test_without_a_token_nothing_is_answered(service: ServiceUnderTest) -> None:
    for method, path in (
        ("GET", "/v1/consent-documents"),
        ("POST", "/v1/consents"),
        ("DELETE", f"/v1/consents/{CONSENT}"),
        ("GET", "/v1/contributors/c-17"),
        ("GET", "/v1/contributors/c-17/export"),
    ):
        expect_problem(service.client.request(method, path), 401, "unauthenticated")


@pytest.mark.long
def test_the_copy_has_every_clip_text_and_consent_of_the_person_and_of_no_other(phone: ConsentingPhone) -> None:
    phone.consent()
    phone.consent(str(UUID(int=2)), contributor="c-2")
    sent = {str(UUID(int=number)): b"voz %d" % number for number in range(10, 215)}  # more than a page of rows
    for clip_id, data in sent.items():
        assert phone.put(data, clip_id).status_code == 201
    phone.put(b"otra voz", str(UUID(int=300)), Habla_Contributor="c-2")
    assert phone.correct("Vamos a ver.", str(UUID(int=10))).json()["results"][0]["status"] == "accepted"
    answer = phone.request("GET", "/v1/contributors/c-17/export")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        clips = [archive.read(name) for name in archive.namelist() if name.startswith("clips/")]
        assert sorted(clips) == sorted(sent.values())
        assert len(archive.read("clips.jsonl").splitlines()) == len(sent)
        (line,) = archive.read("corrections.jsonl").splitlines()
        assert json.loads(line)["text"] == "Vamos a ver."
        (consent,) = json.loads(archive.read("consents.json"))
        assert consent["document"] == "voice"
