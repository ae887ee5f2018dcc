"""Corrections of devices become annotation events once their clip is a segment."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import uploads
from habla_ml.corpus.build import build_day, find_outdated_days, read_corpus_rows
from habla_ml.inbox.clips import ClipReceiver, NewClip
from habla_ml.inbox.consents import withdraw_consents
from habla_ml.inbox.data_points import DataPointOutcome, NewDataPoint, receive_data_points
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.schema import DATA_POINTS
from habla_ml.inbox.unread_texts import count_data_points
from habla_ml_tests.testing.encoded_audio import make_pcm16_wav
from habla_ml_tests.testing.habla_sessions import NOW, make_noise
from habla_ml_tests.testing.received_clips import DAY, PHONE, RECEIVED, Inbox, make_clip_id, make_inbox
from habla_ml_tests.testing.received_consents import give_consent

GIVEN = "2026-01-01"


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make_inbox(tmp_path)


def test_a_deployment_without_a_service_has_no_days_and_no_database(tmp_path: Path) -> None:
    inbox = make_inbox(tmp_path)
    settings = inbox.workspace.settings.model_copy(update={"work_folder": tmp_path / "other" / "work"})
    context = SourceContext(inbox.workspace.lake, settings, NOW)
    assert uploads.SOURCE.find_changes(context).days == ()
    uploads.SOURCE.collect(context, DAY)
    assert not (tmp_path / "other").exists()


def test_a_data_point_waits_for_its_clip_and_becomes_an_event_once(inbox: Inbox) -> None:
    inbox.add_data_point(1, clip=1, text=" vamo a  ver. ")
    assert inbox.find_days(uploads.SOURCE) == {}
    assert count_data_points(inbox.database).without_clip == 1
    inbox.receive(1, contributor="c-7")
    assert inbox.find_days(uploads.SOURCE) == {}
    inbox.ingest()
    assert inbox.find_days(uploads.SOURCE) == {DAY: True}
    (event,) = inbox.collect()
    (segment,) = inbox.read_segments()
    assert event.text == " vamo a  ver. "
    assert (event.segment_id, event.session_id) == (segment["segment_id"], segment["session_id"])
    assert (event.person, event.source, event.status) == ("c-7", "uploads", "corrected")
    assert (event.seen_text, event.model_version) == ("texto de la máquina", "v3")
    assert event.created_at == RECEIVED - timedelta(minutes=1)
    assert (event.is_blind, event.attempt) == (False, 0)
    assert inbox.find_days(uploads.SOURCE) == {DAY: False}
    assert inbox.collect() == [event]
    assert count_data_points(inbox.database).without_clip == 0


def test_a_data_point_that_the_service_has_accepted_is_an_event_of_its_clip(inbox: Inbox, tmp_path: Path) -> None:
    give_consent(inbox.database, "c-1")
    consent = inbox.workspace.settings.consent
    (tmp_path / "body").write_bytes(data := make_pcm16_wav(make_noise(1.0)))
    sent = make_clip_id(7)
    clip = NewClip(sent, hashlib.sha256(data).hexdigest(), PHONE, "c-1", "3A", RECEIVED, RECEIVED)
    ClipReceiver(inbox.database, inbox.store, consent).receive(clip, tmp_path / "body")
    point = NewDataPoint(make_clip_id(8), sent, "Hola.", "confirmed", "", RECEIVED, "es", "1.0", "v3", "Hola.")
    accepted = receive_data_points(inbox.database, PHONE, [point], RECEIVED, consent)
    assert accepted == [DataPointOutcome.ACCEPTED]
    inbox.ingest()
    (event,) = inbox.collect()
    assert (event.text, event.status, event.seen_text, event.person) == ("Hola.", "confirmed", "Hola.", "c-1")
    assert [event.segment_id] == [row["segment_id"] for row in inbox.read_segments()]


def test_a_day_with_clips_is_built_also_without_a_text(inbox: Inbox) -> None:
    inbox.receive(1)
    inbox.ingest()
    workspace = inbox.workspace
    context = SourceContext(workspace.lake, workspace.settings, NOW)
    assert [each.day for each in find_outdated_days(workspace.lake, [uploads.SOURCE.find_changes(context)])] == [DAY]
    build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    assert list(find_outdated_days(workspace.lake, [uploads.SOURCE.find_changes(context)])) == []


def test_the_text_of_a_data_point_is_the_reference_of_its_segment(inbox: Inbox) -> None:
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Vamos a ver.")
    inbox.collect()
    workspace = inbox.workspace
    built = build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    (row,) = read_corpus_rows(workspace.lake, built, ["text", "speaker", "source", "problem"]).to_pylist()
    assert row == {"text": "Vamos a ver.", "speaker": "c-1", "source": "uploads", "problem": None}


def test_a_correction_from_a_clock_that_is_ahead_does_not_override_later_ones(inbox: Inbox) -> None:
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Primero.", corrected_at=RECEIVED + timedelta(days=900))
    later = RECEIVED + timedelta(minutes=2)
    inbox.add_data_point(2, clip=1, text="Después.", corrected_at=later, received_at=later)
    assert [each.created_at for each in inbox.collect()] == [RECEIVED, later]


@pytest.mark.parametrize(
    "behind", [timedelta(minutes=10), timedelta(days=800)]
)  # before the recording, and a reset clock
def test_a_correction_from_a_clock_that_is_behind_counts_as_made_at_its_receipt(
    inbox: Inbox, behind: timedelta
) -> None:
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Primero.")
    later = RECEIVED + timedelta(minutes=2)
    inbox.add_data_point(2, clip=1, text="Después.", corrected_at=RECEIVED - behind, received_at=later)
    assert [(each.text, each.created_at) for each in inbox.collect()] == [
        ("Primero.", RECEIVED - timedelta(minutes=1)),
        ("Después.", later),
    ]


def test_the_clock_of_the_service_dates_no_correction_after_the_present(inbox: Inbox) -> None:
    inbox.receive(1)
    inbox.ingest()
    ahead = NOW + timedelta(days=900)
    inbox.add_data_point(1, clip=1, text="Hola.", corrected_at=ahead, received_at=ahead)
    assert [each.created_at for each in inbox.collect()] == [NOW]


def test_another_language_or_an_unknown_status_is_set_aside_and_stops_no_other(inbox: Inbox) -> None:
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Hello there.", language="en-GB")
    inbox.add_data_point(2, clip=1, text="Hola.", status="liked")
    inbox.add_data_point(3, clip=1, text="Hola.", language="ES_es")
    inbox.add_data_point(4, clip=1, text="", status="unusable", reason="ruido", received_at=RECEIVED)
    assert sorted(each.status for each in inbox.collect()) == ["corrected", "unusable"]
    assert count_data_points(inbox.database).set_aside == 2
    assert inbox.find_days(uploads.SOURCE) == {DAY: False}


def test_a_collect_that_is_killed_before_it_is_noted_adds_nothing_twice(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Hola.")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("habla_ml.inbox.unread_texts.close_data_points", fail)
        with pytest.raises(KeyboardInterrupt):
            inbox.collect()
    assert inbox.find_days(uploads.SOURCE) == {DAY: True}
    assert [each.text for each in inbox.collect()] == ["Hola."]
    assert inbox.find_days(uploads.SOURCE) == {DAY: False}


def test_a_data_point_waits_where_the_consent_of_its_segment_is_awaited_again(tmp_path: Path) -> None:
    registry = tmp_path / "consents.yaml"
    entry = {"contributor": "c-1", "given": GIVEN}
    registry.write_text(yaml.safe_dump({"contributors": [entry]}))
    inbox = make_inbox(tmp_path, consent={"registry": str(registry)})
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Hola.")
    registry.write_text(yaml.safe_dump({"contributors": [entry | {"given": "2027-01-01"}]}))
    assert inbox.collect() == []
    assert inbox.find_days(uploads.SOURCE) == {DAY: False}
    assert count_data_points(inbox.database).waiting_for_consent == 1
    registry.write_text(yaml.safe_dump({"contributors": [entry]}))
    assert inbox.find_days(uploads.SOURCE) == {DAY: True}
    assert [each.text for each in inbox.collect()] == ["Hola."]


def test_a_data_point_waits_where_the_service_alone_records_consents(inbox: Inbox) -> None:
    give_consent(inbox.database, "c-1")
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Hola.")
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", NOW)
    assert inbox.collect() == []
    assert count_data_points(inbox.database).waiting_for_consent == 1


def test_a_data_point_that_comes_after_the_erasure_of_its_clip_is_deleted(inbox: Inbox) -> None:
    erased = inbox.receive(1)
    inbox.receive(2)
    inbox.ingest()
    erase_clips(inbox.database, inbox.store, [erased], NOW)
    inbox.add_data_point(1, clip=1, text="Un secreto.")
    inbox.add_data_point(2, clip=2, text="Hola.")
    inbox.find_days(uploads.SOURCE)
    with inbox.database.read() as connection:
        assert connection.scalars(select(DATA_POINTS.c.text)).all() == ["Hola."]
