"""Data points are kept once, with a result each, in a real database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from habla_ml.inbox.clips import ClipReceiver, NewClip
from habla_ml.inbox.consents import withdraw_consents
from habla_ml.inbox.data_points import NewDataPoint, receive_data_points
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.schema import DATA_POINTS
from habla_ml.settings.data import ConsentSettings
from habla_ml_tests.testing.received_clips import PHONE, Inbox, make_inbox
from habla_ml_tests.testing.received_consents import give_consent

NOW = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)
TABLET = str(UUID(int=7))
OPTIONAL = ConsentSettings(required=False)
REQUIRED = ConsentSettings()
CLIP = str(UUID(int=1))


def make_point(number: int = 1, **fields: Any) -> NewDataPoint:
    point = NewDataPoint(str(UUID(int=number)), CLIP, "Buenas.", "corrected", "", NOW, "es", "1.0", "v3", "buena")
    return replace(point, **fields)


@pytest.fixture
def inbox(tmp_path: Path, service_section: dict[str, str]) -> Inbox:
    return make_inbox(tmp_path, service=service_section)


def send(inbox: Inbox, *points: NewDataPoint, device_id: str = PHONE, consent: ConsentSettings = OPTIONAL) -> list[str]:
    return [each.value for each in receive_data_points(inbox.database, device_id, points, NOW, consent)]


def send_clip(inbox: Inbox) -> NewClip:
    path = inbox.workspace.root / "body"
    path.write_bytes(b"")
    clip = NewClip(
        CLIP, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", PHONE, "c-1", "s", None, NOW
    )
    ClipReceiver(inbox.database, inbox.store, OPTIONAL).receive(clip, path)
    return clip


def read_texts(inbox: Inbox) -> list[str]:
    with inbox.database.read() as connection:
        return list(connection.scalars(select(DATA_POINTS.c.text).order_by(DATA_POINTS.c.text)))


def test_the_same_data_point_again_is_a_duplicate_and_another_content_a_conflict(inbox: Inbox) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=2)))
    assert send(inbox, make_point()) == ["accepted"]
    assert send(inbox, make_point(corrected_at=elsewhere), make_point(text="Otra.")) == ["duplicate", "conflict"]
    assert send(inbox, make_point(2), make_point(2), make_point(2, text="x")) == ["accepted", "duplicate", "conflict"]
    assert read_texts(inbox) == ["Buenas.", "Buenas."]


@pytest.mark.parametrize(
    "change", [{"text": "x"}, {"reason": "x"}, {"seen_text": None}, {"sent_clip_id": str(UUID(int=9))}]
)
def test_any_other_content_is_a_conflict(inbox: Inbox, change: dict[str, Any]) -> None:
    assert send(inbox, make_point()) == ["accepted"]
    assert send(inbox, make_point(**change)) == ["conflict"]


def test_a_newer_correction_and_the_same_id_of_another_device_are_new(inbox: Inbox) -> None:
    assert send(inbox, make_point(1), make_point(2, text="Buenas tardes.")) == ["accepted", "accepted"]
    assert send(inbox, make_point(1, text="Otra."), device_id=TABLET) == ["accepted"]
    assert read_texts(inbox) == ["Buenas tardes.", "Buenas.", "Otra."]


def test_with_required_consent_a_text_is_kept_only_after_its_clip_and_under_a_standing_consent(inbox: Inbox) -> None:
    assert send(inbox, make_point(), consent=REQUIRED) == ["clip_missing"]
    send_clip(inbox)
    assert send(inbox, make_point(), consent=REQUIRED) == ["no_consent"]
    give_consent(inbox.database, "c-1")
    assert send(inbox, make_point(), device_id=TABLET, consent=REQUIRED) == ["clip_missing"]
    assert read_texts(inbox) == []
    assert send(inbox, make_point(), consent=REQUIRED) == ["accepted"]
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", NOW)
    assert send(inbox, make_point(2), consent=REQUIRED) == ["no_consent"]


def test_a_text_on_an_erased_clip_is_not_kept(inbox: Inbox) -> None:
    clip = send_clip(inbox)
    erase_clips(inbox.database, inbox.store, [clip.clip_id], NOW)
    assert send(inbox, make_point()) == ["clip_erased"]
    assert read_texts(inbox) == []


def test_a_text_that_comes_before_its_clip_is_joined_with_it(inbox: Inbox) -> None:
    assert send(inbox, make_point()) == ["accepted"]
    with inbox.database.read() as connection:
        assert connection.scalar(select(DATA_POINTS.c.clip_id)) == send_clip(inbox).clip_id
