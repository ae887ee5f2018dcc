"""A released version over weeks of lessons, in a real lake."""

from __future__ import annotations

import zlib

import pytest

from habla_ml.lake import catalogue, compute_sha256
from habla_ml.monitoring.alarms import active_alarms, build_alerts
from habla_ml.monitoring.released_model import load_monitored_release, watch_release
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import read_hypotheses, save_hypotheses
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml_tests.monitoring.conftest import week_start
from habla_ml_tests.testing.monitored_deployment import ERROR_RATE, write_release_evidence
from habla_ml_tests.testing.sealed_sessions import seal_sessions


def watch_until(monitored_deployment, up_to_week):
    found = watch_release(
        monitored_deployment.lake,
        monitored_deployment.store,
        monitored_deployment.settings,
        week_start(up_to_week, monitored_deployment.settings),
        print,
    )
    assert found is not None
    return found


def test_there_is_no_record_before_the_first_release(lake, store, settings):
    assert watch_release(lake, store, settings, week_start(0, settings), print) is None


@pytest.mark.long
def test_weeks_with_more_errors_raise_an_alarm(monitored_deployment):
    for week in range(3):
        monitored_deployment.simulate_week(week, ERROR_RATE)
    good = watch_until(monitored_deployment, 3).record
    assert [each.week for each in good.drift] == ["2026-02-02", "2026-02-09", "2026-02-16"]
    assert good.alarms == ()
    assert build_alerts(good, "habla-ml rollback") == ()
    for week in range(3, 6):
        monitored_deployment.simulate_week(week, 0.6)
    bad = watch_until(monitored_deployment, 6).record
    assert bad.alarms
    assert bad.alarms[0] >= "2026-03-02"  # A single week raises no alarm.
    assert bad.drift[:3] == good.drift
    (alert, *_) = build_alerts(bad, "habla-ml rollback -p demo")
    assert alert.key == f"drift/v1/{bad.alarms[0]}"
    assert "20" in alert.text
    assert "is tolerated" in alert.text
    assert "go back to the previous release (`habla-ml rollback -p demo`)" in alert.text
    (first, *_) = build_alerts(bad, "")
    assert "go back" not in first.text


def test_a_sealed_session_is_neither_decoded_nor_counted(monitored_deployment):
    lessons = monitored_deployment.record_week(0, sessions=3, segments=1)
    sealed, *others = lessons
    for each in others:
        _set_hypothesis(monitored_deployment, each, each.sentence)
    monitored_deployment.annotate_lessons(lessons)
    seal_sessions(monitored_deployment.lake, sealed.spoken.session)
    found = watch_until(monitored_deployment, 1)
    assert found.decoded == 0
    (week,) = found.record.weeks
    assert week.representative is not None
    assert week.representative.sessions == 2


def test_the_weekly_figure_equals_a_count_by_hand_and_nothing_is_decoded_twice(monitored_deployment):
    lessons = monitored_deployment.record_week(0, sessions=2, segments=1)
    for each, text in zip(lessons, ("los niños", "la libreta azul xmar"), strict=True):
        hypothesis = {"los niños": "los niños traen", "la libreta azul xmar": "la libreta verde"}[text]
        _set_hypothesis(monitored_deployment, each, hypothesis)
        monitored_deployment.annotate_lessons([each], text=text)
    found = watch_until(monitored_deployment, 1)
    (week,) = found.record.weeks
    counts = week.representative.rate.counts
    assert (counts.insertions, counts.substitutions, counts.deletions, counts.reference_words) == (1, 1, 1, 6)
    assert week.representative.rate.value == 3 / 6
    assert found.decoded == 0


def _set_hypothesis(monitored_deployment, each, text):
    sound = each.spoken.segment(each.day).audio_sha256
    options = build_served_options(monitored_deployment.settings.evaluation)
    save_hypotheses(
        monitored_deployment.lake,
        monitored_deployment.model.artefact,
        options,
        {sound: Hypothesis(sound, text, 0.1, 2.0)},
    )


@pytest.mark.long
def test_missing_hypotheses_are_decoded_as_served_and_cached(monitored_deployment):
    lessons = monitored_deployment.record_week(0, sessions=2, segments=1)
    monitored_deployment.annotate_lessons(lessons)
    assert watch_until(monitored_deployment, 1).decoded == 2
    known = read_hypotheses(
        monitored_deployment.lake,
        monitored_deployment.model.artefact,
        build_served_options(monitored_deployment.settings.evaluation),
    )
    assert {each.spoken.segment(each.day).audio_sha256 for each in lessons} <= known.keys()
    assert watch_until(monitored_deployment, 1).decoded == 0


@pytest.mark.long
def test_segments_of_the_snapshot_and_older_corrections_are_left_out(monitored_deployment):
    before = watch_until(monitored_deployment, 1).record
    assert before.weeks == ()
    old = monitored_deployment.record_week(-4)  # The lessons of its snapshot.
    monitored_deployment.annotate_lessons(old[:9], week=0, text="otra cosa")
    assert watch_until(monitored_deployment, 1).record.weeks == ()
    late = monitored_deployment.record_week(-1)
    monitored_deployment.set_hypotheses(late, ERROR_RATE)
    monitored_deployment.annotate_lessons(late, week=0)
    (week,) = watch_until(monitored_deployment, 1).record.weeks
    assert (week.week, week.representative.segments) == ("2026-02-02", len(late))


def test_known_audio_under_another_id_is_left_out(monitored_deployment):
    known = monitored_deployment.record_week(-4)[0].spoken
    copies = monitored_deployment.record_week(0, sessions=2, segments=2, sound=zlib.crc32(known.id.encode()))
    monitored_deployment.annotate_lessons(copies)
    assert watch_until(monitored_deployment, 1).record.weeks == ()


@pytest.mark.long
def test_segments_chosen_as_difficult_are_shown_and_not_tested(monitored_deployment):
    lessons = monitored_deployment.record_week(0)
    difficult = lessons[::3]
    monitored_deployment.queue_as_difficult(difficult)
    monitored_deployment.set_hypotheses([each for each in lessons if each not in difficult], ERROR_RATE)
    monitored_deployment.set_hypotheses(difficult, 0.9)
    monitored_deployment.annotate_lessons(lessons)
    (week,) = watch_until(monitored_deployment, 1).record.weeks
    assert (week.representative.segments, week.uncertain.segments) == (24, 12)
    assert week.uncertain.rate.value > 0.6 > week.representative.rate.value
    (tested,) = watch_until(monitored_deployment, 1).record.drift
    assert tested.excess < 2


@pytest.mark.long
def test_small_weeks_the_running_week_and_other_conventions_are_shown_and_not_tested(monitored_deployment):
    for week, size in ((0, {"segments": 1}), (1, {"sessions": 1, "segments": 20}), (2, {})):
        monitored_deployment.simulate_week(week, ERROR_RATE, **size)
    record = watch_until(monitored_deployment, 2).record
    assert record.drift == ()
    assert record.untested == {
        "2026-02-02": "too small: 24 of 100 words",
        "2026-02-09": "too small: 1 of 2 sessions",
        "2026-02-16": "not over yet",
    }
    tested = watch_until(monitored_deployment, 3).record
    assert [each.week for each in tested.drift] == ["2026-02-16"]


@pytest.mark.long
def test_weeks_are_not_compared_with_a_level_from_another_method(monitored_deployment):
    monitored_deployment.simulate_week(0, ERROR_RATE)
    served = monitored_deployment.settings.evaluation.model_copy(update={"beam_size": 2})
    monitored_deployment.settings = monitored_deployment.settings.model_copy(update={"evaluation": served})
    record = watch_until(monitored_deployment, 1).record
    assert record.drift == ()
    assert "measured with another decoding; materialise `wer_report`" in record.untested["2026-02-02"]
    write_release_evidence(monitored_deployment, ERROR_RATE)
    assert len(watch_until(monitored_deployment, 1).record.drift) == 1


@pytest.mark.long
def test_only_weeks_with_changed_corrections_are_measured_again(monitored_deployment):
    first, _ = monitored_deployment.simulate_week(0, ERROR_RATE), monitored_deployment.simulate_week(1, ERROR_RATE)
    before = watch_until(monitored_deployment, 2)
    again = watch_until(monitored_deployment, 2)
    assert again.object_id == before.object_id
    assert compute_sha256(monitored_deployment.lake.fetch_path(again.object_id)) == again.object_id
    monitored_deployment.annotate_lessons(first[:9], week=0, text="cosa distinta")
    after = watch_until(monitored_deployment, 2).record
    assert after.weeks[0].inputs != before.record.weeks[0].inputs
    assert after.weeks[0].representative.rate.counts != before.record.weeks[0].representative.rate.counts
    assert after.weeks[1] == before.record.weeks[1]


@pytest.mark.long
def test_the_record_has_no_segment_session_person_or_word(monitored_deployment):
    lessons = monitored_deployment.simulate_week(0, ERROR_RATE)
    kept = watch_until(monitored_deployment, 1)
    stored = monitored_deployment.lake.get_bytes(kept.object_id).decode()
    for each in lessons:
        assert each.spoken.id not in stored
        assert each.spoken.session not in stored
        assert each.sentence not in stored
    assert "Ana" not in stored
    assert "Marta" not in stored
    assert load_monitored_release(monitored_deployment.lake, "v1") == kept.record


@pytest.mark.long
def test_a_record_in_another_format_is_measured_again(monitored_deployment):
    monitored_deployment.simulate_week(0, ERROR_RATE)
    first = watch_until(monitored_deployment, 1)
    pointer = monitored_deployment.lake.read_pointer(catalogue.QUALITY.name("v1"))
    monitored_deployment.lake.move_pointer(
        pointer.name, {"record": monitored_deployment.lake.put_json({"format": "old"})}, pointer
    )
    assert watch_until(monitored_deployment, 1).record == first.record


@pytest.mark.long
def test_an_alarm_is_active_for_four_weeks(monitored_deployment):
    monitored_deployment.simulate_week(0, ERROR_RATE)
    record = watch_until(monitored_deployment, 1).record.model_copy()
    assert record.last_week == "2026-02-02"
    assert active_alarms(["2026-01-05", "2026-01-12", "2026-02-02"], record) == ("2026-01-12", "2026-02-02")


@pytest.mark.long
def test_quieter_lessons_are_detected_with_unchanged_errors(monitored_deployment):
    for week in range(5):
        monitored_deployment.simulate_week(week, ERROR_RATE, loudness_dbfs=-32.0 if week else -20.0)
    record = watch_until(monitored_deployment, 5).record
    assert record.alarms == ()
    loudness = next(each for each in record.inputs if each.name == "loudness_dbfs")
    assert loudness.level == pytest.approx(-20.0)
    assert loudness.alarms
    assert not any(each.alarm for each in loudness.rise)
    assert any(alert.key.startswith("inputs/v1/loudness_dbfs/") for alert in build_alerts(record, "habla-ml rollback"))
