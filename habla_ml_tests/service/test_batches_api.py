"""Data points over HTTP: a result each, whatever the others are."""

import gzip
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from sqlalchemy import select

from habla_ml.inbox.schema import DATA_POINTS
from habla_ml_tests.service.test_clips_api import CLIP, Phone
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.service_client import ServiceUnderTest

MISSING = str(UUID(int=5))


def make_item(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": str(UUID(int=number)),
        "recordingItemID": CLIP,
        "correctedTranscription": "Buenas.",
        "timestamp": "2026-11-29T06:20:00Z",
        **fields,
    }


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    service = ServiceUnderTest(tmp_path, {"uploads": {"most_items_per_batch": 20}})
    give_consent(service.state.database, "c-17")
    phone = Phone(service)
    assert phone.put(b"sound").status_code == 201
    return phone


def post(phone: Phone, body: Any, path: str = "/v1/batches") -> Response:
    headers = {"Authorization": f"Bearer {phone.device.token}", "Content-Type": "application/json"}
    return phone.service.client.post(path, content=json.dumps(body), headers=headers)


def send(phone: Phone, *items: Any) -> list[dict[str, Any]]:
    answer = post(phone, {"items": items})
    assert answer.status_code == 200
    results: list[dict[str, Any]] = answer.json()["results"]
    assert [each["index"] for each in results] == list(range(len(items)))
    return results


def read_texts(phone: Phone) -> list[str]:
    with phone.service.state.database.read() as connection:
        return list(connection.scalars(select(DATA_POINTS.c.text).order_by(DATA_POINTS.c.text)))


def test_each_item_has_its_own_result_and_the_good_ones_are_kept(phone: Phone) -> None:
    results = send(
        phone,
        make_item(1, seenText="buena", modelVersion="v3", appVersion="1.2", language="es-ES"),
        make_item(1, correctedTranscription="Otra."),
        make_item(2, recordingItemID=MISSING),
        make_item(3, timestamp=5),
        "no item",
        make_item(4, status="unusable", correctedTranscription="", reason="noise"),
    )
    assert [(each["status"], each["type"], each["retryable"]) for each in results] == [
        ("accepted", None, False),
        ("conflict", "/problems/conflict", False),
        ("rejected", "/problems/clip-missing", True),
        ("rejected", "/problems/invalid", False),
        ("rejected", "/problems/invalid", False),
        ("accepted", None, False),
    ]
    assert [each["id"] for each in results] == [
        *(str(UUID(int=number)) for number in (1, 1, 2, 3)),
        None,
        str(UUID(int=4)),
    ]
    assert read_texts(phone) == ["", "Buenas."]


def test_the_name_of_the_decision_record_is_the_same_address_and_a_repeat_is_a_duplicate(phone: Phone) -> None:
    body = {"items": [make_item()]}
    answers = [post(phone, body, path).json() for path in ("/upload-training-data", "/v1/batches")]
    assert [each["results"][0]["status"] for each in answers] == ["accepted", "duplicate"]
    assert read_texts(phone) == ["Buenas."]


def test_an_item_that_came_before_its_clip_is_accepted_after_it(phone: Phone) -> None:
    item = make_item(recordingItemID=MISSING)
    assert send(phone, item)[0]["retryable"]
    phone.put(b"late", MISSING)
    assert send(phone, item)[0]["status"] == "accepted"


@pytest.mark.parametrize(
    "fault",
    [
        {"id": "1"},
        {"id": "\ud800"},
        {"\ud800": 1},
        {"recordingItemID": CLIP.upper()},
        {"correctedTranscription": "secreto " * 300},
        {"correctedTranscription": "secreto\ud800"},
        {"correctedTranscription": "secreto\0"},
        {"correctedTranscription": " "},
        {"correctedTranscription": None},
        {"status": "secreto"},
        {"reason": "secreto" * 30},
        {"language": "secreto secreto"},
        {"seenText": "secreto\x1b"},
        {"timestamp": "2026-11-29"},
        {"uploaded": True},
    ],
)
def test_a_wrong_item_is_rejected_alone_without_its_text(phone: Phone, fault: dict[str, Any]) -> None:
    wrong, good = send(phone, make_item(2, **fault), make_item(1))
    assert (wrong["status"], wrong["type"], good["status"]) == ("rejected", "/problems/invalid", "accepted")
    assert "secreto" not in json.dumps(wrong)
    assert read_texts(phone) == ["Buenas."]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"items": [{}] * 21}, 413),
        ({"items": 3}, 422),
        ({}, 422),
        ([], 422),
        ({"items": [], "\ud800": 1}, 422),
    ],
)
def test_a_body_that_is_no_batch_is_a_problem(phone: Phone, body: Any, status: int) -> None:
    answer = post(phone, body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert read_texts(phone) == []


def test_an_empty_batch_has_no_result(phone: Phone) -> None:
    assert send(phone) == []


@pytest.mark.parametrize(
    "text", ["Hola\r\nmundo.", "Hola\rmundo.", "Hola\x0bmundo.", "Hola\x0cmundo.", "Hola\x85mundo."]
)
def test_the_line_ends_of_every_system_are_kept_as_typed(phone: Phone, text: str) -> None:
    assert [each["status"] for each in send(phone, make_item(correctedTranscription=text))] == ["accepted"]
    assert read_texts(phone) == [text]


def test_a_text_without_a_visible_character_is_empty(phone: Phone) -> None:
    [result] = send(phone, make_item(correctedTranscription="\u200b\u00a0"))
    assert (result["status"], result["detail"].partition(";")[0]) == ("rejected", "correctedTranscription is empty")


def test_a_compressed_batch_is_refused_by_its_name(phone: Phone) -> None:
    headers = {"Authorization": f"Bearer {phone.device.token}", "Content-Encoding": "gzip"}
    answer = phone.service.client.post("/v1/batches", content=gzip.compress(b'{"items": []}'), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")
