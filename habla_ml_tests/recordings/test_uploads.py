"""Received clips become segments of their day, in a real database, store and lake."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from habla_ml.audio import pcm_sha256
from habla_ml.consent.admission import load_consents
from habla_ml.consent.tombstones import add_tombstones, read_tombstones
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.inbox import unread_clips
from habla_ml.inbox.clips import ClipReceiver, NewClip
from habla_ml.inbox.unread_clips import find_unread_hours, list_upload_days, requeue_waiting_clips
from habla_ml.recordings import uploads
from habla_ml.recordings.days import load_day
from habla_ml.recordings.sessions import parse_session_start
from habla_ml.recordings.upload_names import get_upload_session_id, is_upload_session
from habla_ml.recordings.uploads import count_reasons
from habla_ml_tests.testing.encoded_audio import ENCODERS, encode_audio_file, make_pcm16_wav, mutate_file
from habla_ml_tests.testing.habla_sessions import NOW, ingest_into, make_noise, set_age, write_session
from habla_ml_tests.testing.process_kill import run_until_killed
from habla_ml_tests.testing.received_clips import DAY, HOUR, PHONE, RECEIVED, Inbox, make_clip_id, make_inbox
from habla_ml_tests.testing.received_consents import give_consent

GIVEN = "2026-01-01"


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make_inbox(tmp_path)


def test_a_clip_of_each_format_of_a_phone_becomes_a_segment_of_its_day(inbox: Inbox) -> None:
    clips = {kind: encode_audio_file(kind, 1.0, hertz=300 + 50 * at) for at, kind in enumerate(ENCODERS)}
    clips["wav"] = make_pcm16_wav(make_noise(1.0))
    ids = {inbox.receive(at, data, contributor=f"c-{at}"): kind for at, (kind, data) in enumerate(clips.items())}
    done = inbox.ingest()
    assert (done.segments, done.set_aside, list(done.days)) == (8, 0, [DAY])
    rows = {row["file_name"]: row for row in inbox.read_segments()}
    assert rows.keys() == ids.keys()
    session = get_upload_session_id(inbox.read_clip(next(iter(ids)))["device_id"], "3A lengua")
    for clip_id, row in rows.items():
        stored = inbox.read_clip(clip_id)
        assert (row["segment_id"], row["day"]) == (stored["segment_id"], stored["day"])
        assert (row["source"], row["session_id"], row["speaker"]) == ("upload", session, stored["contributor"])
        assert row["recorded_at"] == RECEIVED - timedelta(minutes=5)
        assert row["duration_s"] == pytest.approx(1.0, abs=0.1), ids[clip_id]
    assert done.seconds == pytest.approx(sum(row["duration_s"] for row in rows.values()))


def test_an_inbox_whose_disk_is_not_mounted_sets_no_clip_aside(inbox: Inbox) -> None:
    for number in (1, 2):
        inbox.receive(number)
    clips = Path(inbox.store.url) / "clips"
    clips.rename(unmounted := clips.with_name("unmounted"))
    with pytest.raises(LakeError, match="has no clip, and clips were received; mount its disk"):
        inbox.ingest()
    assert load_day(inbox.workspace.lake, DAY) is None
    unmounted.rename(clips)
    assert (inbox.ingest().segments, inbox.ingest().set_aside) == (2, 0)


def test_a_clip_that_the_service_has_acknowledged_is_the_segment_that_was_sent(inbox: Inbox, tmp_path: Path) -> None:
    sound = make_noise(1.0)
    (tmp_path / "body").write_bytes(data := make_pcm16_wav(sound))
    digest = hashlib.sha256(data).hexdigest()
    clip = NewClip(make_clip_id(1), digest, PHONE, "c-1", "3A", RECEIVED - timedelta(minutes=1), RECEIVED)
    give_consent(inbox.database, "c-1")
    assert ClipReceiver(inbox.database, inbox.store, inbox.workspace.settings.consent).receive(clip, tmp_path / "body")
    assert inbox.ingest().segments == 1
    (segment,) = inbox.read_segments()
    assert (segment["file_name"], segment["audio_sha256"]) == (clip.clip_id, pcm_sha256(sound))


def test_a_bad_clip_is_set_aside_with_a_reason_and_stops_no_other(inbox: Inbox) -> None:
    bad = {
        inbox.receive(1, b"no audio at all"): "is no audio of a known kind",
        inbox.receive(2, b""): "is empty",
        inbox.receive(3, make_pcm16_wav(make_noise(31.0))): "30",
        inbox.receive(4, encode_audio_file("m4a", 1.0)[:400]): "",
        inbox.receive(5, sha256="0" * 64): "other bytes than were received",
        (lost := inbox.receive(6)): "no longer in the inbox",
    }
    inbox.store.delete(inbox.read_clip(lost)["file_key"])
    good = inbox.receive(7)
    done = inbox.ingest()
    assert (done.segments, done.set_aside) == (1, 6)
    found = unread_clips.read_hour(inbox.database, HOUR)
    assert (list(found.segments), found.set_aside.keys(), found.unread) == ([good], bad.keys(), 0)
    shown = count_reasons(found.set_aside.values())
    assert sum(shown.values()) == 6
    assert not any("no audio at" in reason or "31" in reason for reason in shown)
    for clip_id, reason in bad.items():
        stored = inbox.read_clip(clip_id)
        assert reason in stored["set_aside"]
        assert stored["segment_id"] is None
    assert [row["file_name"] for row in inbox.read_segments()] == [good]
    assert find_unread_hours(inbox.database) == []


@pytest.mark.slow
def test_no_mutated_file_stops_its_hour(inbox: Inbox) -> None:
    rng = random.Random(5)
    files = [encode_audio_file(kind, 0.4) for kind in ENCODERS]
    for number in range(200):
        inbox.receive(number, mutate_file(files[number % len(files)], rng))
    done = inbox.ingest()
    assert done.segments + done.set_aside == 200
    assert min(done.segments, done.set_aside) > 10
    assert find_unread_hours(inbox.database) == []


def test_a_reason_is_counted_without_its_values() -> None:
    reasons = [
        "lasts 31.5 s, more than the 30 s allowed",
        "lasts 40 s, more than the 30 s allowed",
        "starts with b'ab m4a'",
    ]
    assert count_reasons(reasons) == {"lasts … s, more than the … s allowed": 2, "starts with …": 1}
    assert count_reasons(["mp4 cannot be decoded: [Errno 22]"]) == {"mp4 cannot be decoded: [Errno …]": 1}


@pytest.mark.parametrize(
    ("recorded_at", "day", "is_kept"),
    [
        (datetime(2026, 3, 1, 22, 30, tzinfo=UTC), "2026-03-01", True),
        (datetime(2026, 3, 1, 23, 30, tzinfo=UTC), "2026-03-02", True),  # 00:30 in Madrid
        (None, DAY, False),
        (RECEIVED + timedelta(days=400), DAY, False),
        (datetime(1970, 1, 1, tzinfo=UTC), DAY, False),
    ],
)
def test_a_clip_is_of_its_local_day_or_of_its_receipt_if_its_date_is_wrong(
    inbox: Inbox, recorded_at: datetime | None, day: str, is_kept: bool
) -> None:
    inbox.receive(1, recorded_at=recorded_at)
    done = inbox.ingest()
    (row,) = inbox.read_segments(day)
    assert row["recorded_at"] == (recorded_at if is_kept else None)
    assert done.dated_by_receipt == (not is_kept)


def test_a_clip_from_before_the_first_day_is_set_aside_until_the_setting_is_earlier(tmp_path: Path) -> None:
    inbox = make_inbox(tmp_path, recordings={"first_day": "2026-03-03"})
    clip_id = inbox.receive(1)
    assert inbox.ingest().segments == 0
    assert "before recordings.first_day (2026-03-03)" in inbox.read_clip(clip_id)["set_aside"]
    earlier = make_inbox(tmp_path, recordings={"first_day": DAY})
    assert unread_clips.requeue_set_aside_clips(earlier.database, HOUR) == 1
    assert earlier.ingest().segments == 1


def test_the_same_clips_give_the_same_objects_in_whatever_order_they_come(tmp_path: Path) -> None:
    first, second = make_inbox(tmp_path / "1"), make_inbox(tmp_path / "2")
    later = RECEIVED + timedelta(hours=1)
    for number in range(4):
        first.receive(number, session=str(number % 2))
    first.ingest()
    for number in (3, 1, 2, 0):
        moment = later if number % 2 else RECEIVED
        second.receive(number, session=str(number % 2), received_at=moment)
        second.ingest("2026-03-02T11" if number % 2 else HOUR)
    days = [load_day(each.workspace.lake, DAY) for each in (first, second)]
    assert days[0] == days[1]
    assert days[0] is not None
    assert days[0].segments == 4


def test_clips_join_a_day_of_habla_and_stay_when_habla_changes_it(inbox: Inbox) -> None:
    name = "11111_20260302_090000"
    set_age(write_session(inbox.workspace.recordings, name, 2), 24)
    ingest_into(inbox.workspace, DAY)
    inbox.receive(1)
    inbox.ingest()
    set_age(write_session(inbox.workspace.recordings, name, 3), 24)
    ingest_into(inbox.workspace, DAY)
    assert [row["source"] for row in inbox.read_segments()] == ["habla"] * 3 + ["upload"]


def receive_two_days(folder: Path) -> Inbox:
    inbox = make_inbox(folder)
    for number in range(3):
        inbox.receive(number, recorded_at=RECEIVED - timedelta(days=number % 2))
    inbox.receive(9, b"no audio")
    return inbox


@pytest.mark.long
def test_an_ingest_that_is_killed_before_any_step_is_completed_by_the_next(tmp_path: Path) -> None:
    whole = receive_two_days(tmp_path / "whole")
    whole.ingest()
    for step in range(1, 11):  # of each of two days: publish, and four notes of what became of the clips
        folder = tmp_path / str(step)
        receive_two_days(folder)

        def work(before_step: Callable[[], None], folder: Path = folder) -> None:
            inbox = make_inbox(folder)
            _call_before(before_step)
            inbox.ingest()

        assert run_until_killed(work, step)
        killed = make_inbox(folder)
        killed.ingest()
        for day in (DAY, "2026-03-01"):
            assert load_day(killed.workspace.lake, day) == load_day(whole.workspace.lake, day)
        for number in (0, 1, 2, 9):
            assert killed.read_clip(make_clip_id(number)) == whole.read_clip(make_clip_id(number))


def _call_before(before_step: Callable[[], None]) -> None:
    for name in ("publish_day", "mark_ingested", "set_aside", "mark_waiting", "erase_clips"):
        original = getattr(uploads, name)

        def step(*arguments: object, _original: Callable[..., object] = original, **options: object) -> object:
            before_step()
            return _original(*arguments, **options)

        setattr(uploads, name, step)


def test_a_day_that_another_run_publishes_meanwhile_keeps_what_both_bring(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_age(write_session(inbox.workspace.recordings, "11111_20260302_090000", 1), 24)
    inbox.receive(1)
    inbox.receive(2)
    original, calls = uploads.build_segment, []

    def build(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:  # the day is open for the second clip
            ingest_into(inbox.workspace, DAY)
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(uploads, "build_segment", build)
    with record_conflicts(monkeypatch) as conflicts:
        assert inbox.ingest().segments == 2
    assert len(conflicts) == 1
    assert [row["source"] for row in inbox.read_segments()] == ["habla", "upload", "upload"]


@contextmanager
def record_conflicts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Exception]]:
    conflicts: list[Exception] = []
    original = uploads.publish_day

    def publish(*arguments: object, **options: object) -> object:
        try:
            return original(*arguments, **options)  # type: ignore[arg-type]
        except PointerMovedError as error:
            conflicts.append(error)
            raise

    monkeypatch.setattr(uploads, "publish_day", publish)
    yield conflicts


def register(path: Path, *entries: dict[str, object]) -> None:
    path.write_text(yaml.safe_dump({"contributors": list(entries)}), "utf-8")


def test_a_clip_waits_for_the_consent_of_its_contributor_and_comes_in_with_it(tmp_path: Path) -> None:
    registry = tmp_path / "consents.yaml"
    register(registry, {"contributor": "c-1"}, {"contributor": "c-2", "given": GIVEN})
    inbox = make_inbox(tmp_path, consent={"registry": str(registry)})
    waiting, other = inbox.receive(1, contributor=" C-1 "), inbox.receive(2, contributor="c-2")
    done = inbox.ingest()
    assert (done.segments, done.waiting) == (1, 1)
    assert [row["file_name"] for row in inbox.read_segments()] == [other]
    assert find_unread_hours(inbox.database) == []
    assert requeue_waiting_clips(inbox.database, load_consents(inbox.workspace.settings, NOW).unchanged_since) == 0
    register(registry, {"contributor": "c-1", "given": GIVEN}, {"contributor": "c-2", "given": GIVEN})
    assert requeue_waiting_clips(inbox.database, load_consents(inbox.workspace.settings, NOW).unchanged_since) == 1
    assert [each.hour for each in find_unread_hours(inbox.database)] == [HOUR]
    assert inbox.ingest().segments == 1
    assert {row["file_name"] for row in inbox.read_segments()} == {waiting, other}


def assert_erased_from_inbox(inbox: Inbox, clip_id: str) -> None:
    stored = inbox.read_clip(clip_id)
    assert (stored["erased_at"], stored["contributor"], stored["session"]) == (NOW, None, "")
    assert inbox.store.read_versioned(inbox.read_clip(clip_id)["file_key"]) is None
    assert find_unread_hours(inbox.database) == []


def test_a_withdrawn_voice_does_not_come_in_and_leaves_a_tombstone(tmp_path: Path) -> None:
    registry = tmp_path / "consents.yaml"
    register(registry, {"contributor": "c-1", "given": GIVEN, "withdrawn": "2026-02-01"})
    inbox = make_inbox(tmp_path, consent={"registry": str(registry)})
    clip_id = inbox.receive(1)
    done = inbox.ingest()
    assert (done.days, done.refused) == ({}, 1)
    assert_erased_from_inbox(inbox, clip_id)
    assert load_day(inbox.workspace.lake, DAY) is None
    assert len(read_tombstones(inbox.workspace.lake).sounds) == 1


def test_an_erased_sound_does_not_come_back_under_another_id(inbox: Inbox) -> None:
    data = make_pcm16_wav(make_noise())
    inbox.receive(1, data)
    inbox.ingest()
    (row,) = inbox.read_segments()
    add_tombstones(inbox.workspace.lake, [row["segment_id"]], [row["audio_sha256"]])
    again = inbox.receive(2, data, contributor="c-9")
    done = inbox.ingest()
    assert (done.segments, done.refused) == (0, 1)
    assert_erased_from_inbox(inbox, again)


def test_the_name_of_an_upload_session_is_none_of_habla_and_hides_what_the_app_chose() -> None:
    name = get_upload_session_id("phone", "María_20260302_090000")
    assert is_upload_session(name)
    assert parse_session_start(name) is None
    assert not is_upload_session("upload-3a_20260302_090000")
    assert "Mar" not in name
    assert name == get_upload_session_id("phone", "María_20260302_090000")
    assert name != get_upload_session_id("other phone", "María_20260302_090000")


def test_days_and_hours_of_uploads_are_listed_once(inbox: Inbox) -> None:
    assert list_upload_days(inbox.database) == []
    for number in range(6):
        inbox.receive(number, recorded_at=RECEIVED - timedelta(days=number % 3))
    inbox.receive(7, received_at=RECEIVED + timedelta(hours=1))
    assert [(each.hour, each.clips) for each in find_unread_hours(inbox.database)] == [(HOUR, 6), ("2026-03-02T11", 1)]
    inbox.ingest()
    assert list_upload_days(inbox.database) == ["2026-02-28", "2026-03-01", DAY]
