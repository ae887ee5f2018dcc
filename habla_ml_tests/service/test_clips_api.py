"""Clips over HTTP: what a device is answered, and what is kept."""

import base64
import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response

from habla_ml.inbox.clip_files import CLIP_PREFIX
from habla_ml.inbox.clips import derive_clip_id
from habla_ml.inbox.consents import withdraw_consents
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.unread_clips import read_unread_clips
from habla_ml.service.api.fields import decode_header
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.service_client import ServiceUnderTest

CLIP = "3f2b8c1e-9d41-4b7a-8a54-0c2f6f1d7e90"


def describe(data: bytes, **headers: Any) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "Content-Digest": f"sha-256=:{digest}:",
        "Habla-Session": "3A",
        "Habla-Contributor": "c-17",
        "Habla-Recorded-At": "2026-11-29T07:00:00+01:00",
        **named,
    }


class Phone:
    """A device that sends clips."""

    def __init__(self, service: ServiceUnderTest) -> None:
        self.service = service
        self.device = service.enrol()

    def put(self, data: bytes, clip_id: str = CLIP, **headers: Any) -> Response:
        sent = {"Authorization": f"Bearer {self.device.token}", **describe(data, **headers)}
        return self.service.client.put(f"/v1/clips/{clip_id}", content=data, headers=sent)

    def list_files(self) -> list[bytes]:
        store = self.service.state.inbox
        return sorted(store.read(each.key) for each in store.list(CLIP_PREFIX))


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    service = ServiceUnderTest(tmp_path)
    give_consent(service.state.database, "c-17")
    return Phone(service)


def expect_problem(answer: Response, status: int, name: str, *, retryable: bool = False) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{name}")
    assert answer.json()["retryable"] is retryable


def test_a_clip_is_stored_once_with_what_its_headers_say(phone: Phone) -> None:
    first, again = phone.put(b"sound"), phone.put(b"sound")
    assert (first.status_code, first.json()) == (201, {"id": CLIP, "status": "stored"})
    assert (again.status_code, again.json()) == (200, {"id": CLIP, "status": "held"})
    assert phone.list_files() == [b"sound"]
    (kept,) = read_unread_clips(phone.service.state.database, "2026-11-29T06")
    assert (kept.device_id, kept.contributor, kept.session) == (phone.device.device.device_id, "c-17", "3A")
    assert kept.recorded_at is not None
    assert kept.recorded_at.isoformat() == "2026-11-29T06:00:00+00:00"


def test_other_bytes_under_the_id_are_a_conflict_only_for_the_device_that_used_it(phone: Phone) -> None:
    phone.put(b"sound")
    expect_problem(phone.put(b"other"), 409, "conflict")
    assert Phone(phone.service).put(b"other").status_code == 201
    assert phone.list_files() == [b"other", b"sound"]


@pytest.mark.parametrize("contributor", ["c-18", None])
def test_without_a_standing_consent_nothing_is_stored(phone: Phone, contributor: str | None) -> None:
    headers = describe(b"sound")
    if contributor is None:
        del headers["Habla-Contributor"]
    else:
        headers["Habla-Contributor"] = contributor
    sent = {"Authorization": f"Bearer {phone.device.token}", **headers}
    answer = phone.service.client.put(f"/v1/clips/{CLIP}", content=b"sound", headers=sent)
    expect_problem(answer, 403, "no-consent")
    assert contributor is None or contributor not in answer.text
    assert phone.list_files() == []


def test_a_withdrawal_stops_uploads_and_an_erased_clip_does_not_come_back(phone: Phone) -> None:
    state = phone.service.state
    phone.put(b"sound")
    with state.database.write() as connection:
        withdraw_consents(connection, "c-17", phone.service.now)
    expect_problem(phone.put(b"next", str(UUID(int=1))), 403, "no-consent")
    clip_id = derive_clip_id(phone.device.device.device_id, CLIP)
    erase_clips(state.database, state.inbox, [clip_id], phone.service.now)
    expect_problem(phone.put(b"sound"), 410, "erased")
    assert phone.list_files() == []


def test_a_body_that_differs_from_its_digest_or_is_too_large_leaves_nothing(phone: Phone) -> None:
    wrong = describe(b"other")["Content-Digest"]
    expect_problem(phone.put(b"sound", Content_Digest=wrong), 400, "digest-mismatch", retryable=True)
    expect_problem(phone.put(b"sound", Content_Digest="md5=:AAAA:"), 400, "bad-request")
    expect_problem(phone.put(bytes(10_000_001)), 413, "too-large")
    assert phone.list_files() == []
    assert not list((phone.service.state.settings.service_folder / "incoming").glob("*"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Habla-Session", b" "),
        ("Habla-Session", b"a" * 101),
        ("Habla-Contributor", "\u200b".encode()),
        ("Habla-Recorded-At", b"1764400000"),
        ("Habla-Recorded-At", b"2026-11-29T07:00:00"),
        ("Habla-Recorded-At", b"0001-01-01T00:00:00+23:00"),
        ("Habla-Recorded-At", b"2026-02-30T07:00:00Z"),
    ],
)
def test_a_wrong_header_is_named_and_its_value_is_not_repeated(phone: Phone, name: str, value: bytes) -> None:
    answer = phone.put(b"sound", **{name.replace("-", "_"): value})
    expect_problem(answer, 422, "invalid")
    assert [each["at"] for each in answer.json()["faults"]] == [f"header.{name.lower()}"]
    assert phone.list_files() == []


def test_a_header_that_is_not_utf_8_is_refused() -> None:
    # The test client itself sends UTF-8 only.
    with pytest.raises(ValueError, match="UTF-8"):
        decode_header("\xff")


@pytest.mark.parametrize("clip_id", ["1", CLIP.upper(), f"{{{CLIP}}}", CLIP.replace("-", ""), "..%2f..%2fetc"])
def test_an_id_that_is_no_canonical_uuid_is_refused(phone: Phone, clip_id: str) -> None:
    assert phone.put(b"sound", clip_id).status_code in (404, 422)
    assert phone.list_files() == []


def test_a_session_in_spanish_is_kept_as_typed(phone: Phone) -> None:
    assert phone.put(b"sound", Habla_Session="4º B, inglés".encode()).status_code == 201
    (kept,) = read_unread_clips(phone.service.state.database, "2026-11-29T06")
    assert kept.session == "4º B, inglés"


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({"Content_Encoding": "gzip"}, "send it without compression"),
        ({"Content_Type": "multipart/form-data; boundary=x"}, "send the bytes of the file as the whole body"),
    ],
)
def test_a_body_that_is_not_the_plain_file_is_refused_and_not_acknowledged(
    phone: Phone, headers: dict[str, str], part: str
) -> None:
    answer = phone.put(b"a", **headers)
    expect_problem(answer, 415, "unsupported-media-type")
    assert part in answer.json()["detail"]
    assert phone.put(b"a", Content_Encoding="identity").status_code == 201
    assert phone.list_files() == [b"a"]


def test_an_empty_file_is_refused_and_its_id_stays_free(phone: Phone) -> None:
    answer = phone.put(b"")
    expect_problem(answer, 422, "invalid")
    assert "0 bytes" in answer.json()["detail"]
    assert phone.put(b"a").status_code == 201
