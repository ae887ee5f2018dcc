"""The requests of the page Corregir: clips, audio, answers and who may send them."""

import io
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import soundfile
from sqlalchemy import update
from starlette.testclient import TestClient

from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.inbox.accounts import invite
from habla_ml.inbox.schema import HAND_OUTS
from habla_ml.service.app import create_app
from habla_ml.service.pages.byte_ranges import build_range_response
from habla_ml.service.pages.clip_words import describe_reason
from habla_ml.service.state import ServiceState
from habla_ml_tests.testing.clips_to_correct import HINT, make_clip, make_review_deployment

BROWSER = {"Accept-Language": "en", "Sec-Fetch-Site": "same-origin"}


class Person:
    """The page's script as a person at the machine, or with an account."""

    def __init__(self, state: ServiceState, name: str = "", rights: tuple[str, ...] = ("correct",)) -> None:
        self.http = TestClient(
            create_app(state), "http://127.0.0.1:8787", client=("127.0.0.1", 50_000), headers=BROWSER
        )
        if name:
            code = invite(state.database, rights, datetime.now(UTC), timedelta(days=1))
            form = {"code": code, "name": name, "password": "caballo grapa bateria", "language": "en"}
            assert self.http.post("/join", data=form).status_code == 200

    def get(self, path: str, **options: Any) -> Any:
        return self.http.get(f"/correct{path}", **options)

    def clips(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/clips", params=query).json()["clips"]
        return found

    def answer(self, clip: dict[str, Any], text: str = "", **fields: Any) -> Any:
        body = {"answerId": str(uuid.uuid4()), "status": "corrected", "text": text, **fields}
        return self.http.post(f"/correct/clips/{clip['handOutId']}/answers", json=body)


@pytest.fixture
def open_service(tmp_path: Path) -> Any:
    def make(*items: ReviewItem, **sections: Any) -> ServiceState:
        return ServiceState(make_review_deployment(tmp_path, *items, **sections)[0])

    return make


def test_the_page_has_no_inline_script_and_no_clip(open_service: Any) -> None:
    page = Person(open_service(make_clip(1))).get("")
    assert page.status_code == 200
    assert re.search(r"<(script(?! type=.module. src=./static)|style)| style=| on\w+=|https?://", page.text) is None
    assert HINT not in page.text


def test_a_clip_has_its_text_its_speakers_and_its_reasons_in_words(open_service: Any) -> None:
    person = Person(open_service(make_clip(1), make_clip(2, "", 2)))
    first, second = person.clips()
    assert (first["text"], first["speaker"], first["speakers"]) == (HINT, "Ana", ["Ana", "Luis"])
    assert first["reasons"] == ["the model is not sure of it (45% sure)"]
    assert (second["text"], second["isBlind"], second["people"]) == ("", True, 2)
    spanish = person.get("/clips", headers={"Accept-Language": "es"}).json()["clips"][0]
    assert spanish["reasons"] == ["el modelo duda (seguridad: 45 %)"]


def test_a_speaker_that_nobody_knows_is_no_name(open_service: Any) -> None:
    person = Person(open_service(replace(make_clip(1), speaker="unknown")))
    (clip,) = person.clips()
    assert (clip["speaker"], clip["speakers"]) == ("", ["Ana", "Luis"])
    assert person.answer(clip, "hola", speaker="c-\x0717").status_code == 422
    assert person.answer(clip, "hola", speaker="c-017").status_code == 200


@pytest.mark.long
def test_nothing_that_the_service_sends_has_the_text_of_a_blind_clip(open_service: Any) -> None:
    state = open_service(make_clip(1, "secreto del modelo", 2))
    ana, eva = Person(state, "Ana"), Person(state, "Eva")
    (clip,), (other,) = ana.clips(), eva.clips()
    sent = [ana.get("/clips"), ana.answer(clip, "lo de ana"), ana.get(f"/clips/{clip['handOutId']}/history")]
    assert all("secreto" not in each.text and each.status_code == 200 for each in sent)
    assert [each["text"] for each in sent[-1].json()] == ["lo de ana"]
    received = [eva.get("/clips"), eva.get(f"/clips/{other['handOutId']}/history"), eva.answer(other, "lo de eva")]
    assert all("lo de ana" not in each.text and each.status_code == 200 for each in received)
    refused = eva.answer(other, status="confirmed")
    assert (refused.status_code, "secreto" in refused.text) == (422, False)


def test_a_player_gets_the_audio_whole_or_in_parts(open_service: Any) -> None:
    person = Person(open_service(make_clip(1)))
    address = f"/clips/{person.clips()[0]['handOutId']}/audio"
    whole = person.get(address)
    assert whole.headers["content-type"] == "audio/flac"
    assert whole.headers["cache-control"] == "no-store"
    samples, rate = soundfile.read(io.BytesIO(whole.content))
    assert (len(samples), rate) == (24_000, 16_000)
    part = person.get(address, headers={"Range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, whole.content[4:10])
    assert part.headers["content-range"] == f"bytes 4-9/{len(whole.content)}"


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("", 200, b"0123456789"),
        ("bytes=0-", 206, b"0123456789"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-30", 206, b"0123456789"),
        ("bytes=10-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=5-2", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("bytes=٣-", 200, b"0123456789"),
    ],
)
def test_a_range_is_read_as_the_standard_says(asked: str, status: int, content: bytes) -> None:
    answer = build_range_response(b"0123456789", asked, "audio/flac")
    assert (answer.status_code, answer.body) == (status, content)


def test_a_repeated_answer_is_saved_once_and_the_week_counts_it(open_service: Any) -> None:
    state = open_service(make_clip(1), make_clip(2))
    person = Person(state)
    clip = person.clips()[0]
    body = {"answerId": str(uuid.uuid4())}
    answers = [person.answer(clip, "bueno pues", **body, ageSeconds=age) for age in (60, 90)]
    assert [each.json() for each in answers] == [{**body, "status": "corrected", "others": []}] * 2
    assert person.answer(clip, "otra cosa", **body).status_code == 409
    progress = person.get("/clips").json()["progress"]
    assert (progress["clips"], progress["answered"], progress["mineThisWeek"]) == (2, 1, 1)
    assert (progress["minutes"], progress["answeredMinutes"]) == (0.05, 0.025)
    assert [each["segmentId"] for each in person.clips()] == [make_clip(2).segment_id]
    assert person.clips(exclude=[make_clip(2).segment_id]) == []


@pytest.mark.long
def test_two_different_answers_are_a_conflict_that_one_person_can_end(open_service: Any) -> None:
    state = open_service(make_clip(1))
    ana, eva = Person(state, "Ana"), Person(state, "Eva")
    (mine,) = ana.clips()
    with state.database.write() as connection:  # Ana leaves the clip on her screen over lunch.
        connection.execute(update(HAND_OUTS).values(handed_out_at=datetime.now(UTC) - timedelta(hours=1)))
    (hers,) = eva.clips()
    assert eva.answer(hers, "la de eva").json()["others"] == []
    saved = ana.answer(mine, "la de ana").json()
    assert [(each["person"], each["text"]) for each in saved["others"]] == [("Eva", "la de eva")]
    undo = {"undoId": str(uuid.uuid4())}
    path = f"/correct/answers/{saved['answerId']}/undo"
    assert eva.http.post(path, json=undo).status_code == 404
    assert [ana.http.post(path, json=undo).json()["status"] for _ in range(2)] == ["withdrawn"] * 2
    history = eva.get(f"/clips/{hers['handOutId']}/history").json()
    assert [(each["text"], each["isMine"]) for each in history] == [
        ("la de eva", True),
        ("la de ana", False),
        ("", False),
    ]


@pytest.mark.long
def test_a_clip_is_only_for_who_got_it(open_service: Any) -> None:
    state = open_service(make_clip(1))
    ana, eva = Person(state, "Ana"), Person(state, "Eva")
    (clip,) = ana.clips()
    for made_up in (clip, {"handOutId": str(uuid.uuid4())}):
        assert eva.get(f"/clips/{made_up['handOutId']}/audio").status_code == 404
        assert eva.answer(made_up, "hola").status_code == 404


def test_an_answer_to_a_clip_whose_consent_is_withdrawn_is_refused(open_service: Any, tmp_path: Path) -> None:
    register = tmp_path / "consents.yaml"
    register.write_text("contributors: []\n", "utf-8")
    person = Person(open_service(make_clip(1), consent={"registry": str(register)}))
    (clip,) = person.clips()
    register.write_text("contributors:\n- {contributor: c1, speakers: [{label: Ana}]}\n", "utf-8")
    for answer in (person.answer(clip, "hola"), person.get(f"/clips/{clip['handOutId']}/audio")):
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/no-consent")


@pytest.mark.parametrize(
    "fields",
    [
        {"answerId": "x"},
        {"status": "withdrawn"},
        {"status": "unusable"},
        {"status": "unusable", "reason": "boring"},
        {"text": ""},
        {"text": "hola\0"},
        {"text": "x" * 5001},
        {"ageSeconds": -1},
        {"ageSeconds": "Infinity"},
        {"person": "Eva"},
    ],
)
def test_a_malformed_answer_is_refused_and_not_repeated_back(open_service: Any, fields: dict[str, Any]) -> None:
    person = Person(open_service(make_clip(1)))
    answer = person.answer(person.clips()[0], **{"text": "hola secreta", **fields})
    assert answer.status_code == 422
    assert "secreta" not in answer.text


def test_only_a_page_of_the_service_may_answer_and_only_with_the_right(open_service: Any) -> None:
    state = open_service(make_clip(1))
    person = Person(state)
    (clip,) = person.clips()
    person.http.headers["Sec-Fetch-Site"] = "cross-site"
    assert person.answer(clip, "hola").status_code == 403
    guest = Person(state, "Guest", ("consents",))
    assert guest.get("").status_code == guest.get("/clips").status_code == 403
    assert guest.http.get("/").text.count("/correct") == 0


@pytest.mark.parametrize(
    ("reason", "english"),
    [
        ("disputed: v2 and Habla differ in 40% of the words", "two transcripts differ in 40% of the words"),
        ("quiet: -52 dBFS", "it is quiet (-52 dBFS)"),
        ("conventions: digits, doubled spaces", "the text does not follow the writing rules: digits, doubled spaces"),
        ("random: drawn by chance", "chosen at random"),
        ("something new: {0}", "something new: {0}"),
    ],
)
def test_a_reason_is_said_in_words(reason: str, english: str) -> None:
    assert describe_reason(reason, "en") == english
