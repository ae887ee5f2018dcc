"""A released version over weeks of lessons, in a real lake."""

from __future__ import annotations

import zlib

import pytest

from habla_ml.evaluation.hypotheses import read_hypotheses, save_hypotheses
from habla_ml.evaluation.listening import served_options
from habla_ml.lake import catalogue, sha256_of
from habla_ml.monitoring.alarms import alerts_of, standing
from habla_ml.monitoring.released import load_watched, watch_release
from habla_ml.transcription.engine import Hypothesis
from habla_ml_tests.monitoring.conftest import start_of
from habla_ml_tests.monitoring.world import ERROR_RATE, measure_release


def watch(school, up_to_week):
    found = watch_release(school.lake, school.store, school.settings, start_of(up_to_week, school.settings), print)
    assert found is not None
    return found


def test_nothing_is_watched_before_the_first_release(lake, store, settings):
    assert watch_release(lake, store, settings, start_of(0, settings), print) is None


def test_good_weeks_pass_and_bad_ones_raise_the_alarm(school):
    for week in range(3):
        school.week(week, ERROR_RATE)
    good = watch(school, 3).record
    assert [each.week for each in good.drift] == ["2026-02-02", "2026-02-09", "2026-02-16"]
    assert good.alarms == ()
    assert alerts_of(good) == ()
    for week in range(3, 6):
        school.week(week, 0.6)
    bad = watch(school, 6).record
    assert bad.alarms
    assert bad.alarms[0] >= "2026-03-02"  # no week alone is an alarm
    assert bad.drift[:3] == good.drift
    (alert, *_) = alerts_of(bad)
    assert alert.key == f"drift/v1/{bad.alarms[0]}"
    assert "20" in alert.text
    assert "is tolerated" in alert.text


def test_a_weeks_figure_is_counted_by_hand_and_nothing_is_decoded_twice(school):
    lessons = school.teach(0, sessions=2, segments=1)
    for each, text in zip(lessons, ("los niños", "la libreta azul xmar"), strict=True):
        heard = {"los niños": "los niños traen", "la libreta azul xmar": "la libreta verde"}[text]
        _hears(school, each, heard)
        school.correct([each], text=text)
    found = watch(school, 1)
    (week,) = found.record.weeks
    counts = week.representative.rate.counts
    assert (counts.insertions, counts.substitutions, counts.deletions, counts.reference_words) == (1, 1, 1, 6)
    assert week.representative.rate.value == 3 / 6
    assert found.decoded == 0


def _hears(school, each, text):
    sound = each.spoken.segment(each.day).audio_sha256
    options = served_options(school.settings.evaluation)
    save_hypotheses(school.lake, school.model.artefact, options, {sound: Hypothesis(sound, text, 0.1, 2.0)})


def test_what_nobody_heard_yet_is_decoded_as_served_and_kept(school):
    lessons = school.teach(0, sessions=2, segments=1)
    school.correct(lessons)
    assert watch(school, 1).decoded == 2
    known = read_hypotheses(school.lake, school.model.artefact, served_options(school.settings.evaluation))
    assert {each.spoken.segment(each.day).audio_sha256 for each in lessons} <= known.keys()
    assert watch(school, 1).decoded == 0


def test_what_the_version_knows_is_left_out_and_so_is_what_was_said_before_the_release(school):
    before = watch(school, 1).record
    assert before.weeks == ()
    old = school.teach(-4)  # the same lessons as in its snapshot
    school.correct(old[:9], week=0, text="otra cosa")
    assert watch(school, 1).record.weeks == ()
    late = school.teach(-1)
    school.hear(late, ERROR_RATE)
    school.correct(late, week=0)
    (week,) = watch(school, 1).record.weeks
    assert (week.week, week.representative.segments) == ("2026-02-02", len(late))


def test_a_known_sound_under_another_name_is_left_out(school):
    known = school.teach(-4)[0].spoken
    copies = school.teach(0, sessions=2, segments=2, sound=zlib.crc32(known.id.encode()))
    school.correct(copies)
    assert watch(school, 1).record.weeks == ()


def test_segments_chosen_for_being_difficult_are_shown_beside_and_not_judged(school):
    lessons = school.teach(0)
    difficult = lessons[::3]
    school.choose(difficult)
    school.hear([each for each in lessons if each not in difficult], ERROR_RATE)
    school.hear(difficult, 0.9)
    school.correct(lessons)
    (week,) = watch(school, 1).record.weeks
    assert (week.representative.segments, week.uncertain.segments) == (24, 12)
    assert week.uncertain.rate.value > 0.6 > week.representative.rate.value
    (judged,) = watch(school, 1).record.drift
    assert judged.excess < 2


def test_small_weeks_the_running_week_and_other_conventions_are_shown_and_not_tested(school):
    for week, size in ((0, {"segments": 1}), (1, {"sessions": 1, "segments": 20}), (2, {})):
        school.week(week, ERROR_RATE, **size)
    record = watch(school, 2).record
    assert record.drift == ()
    assert record.untested == {
        "2026-02-02": "too small: 24 of 100 words",
        "2026-02-09": "too small: 1 of 2 sessions",
        "2026-02-16": "not over yet",
    }
    tested = watch(school, 3).record
    assert [each.week for each in tested.drift] == ["2026-02-16"]


def test_a_level_that_was_measured_otherwise_is_compared_with_nothing(school):
    school.week(0, ERROR_RATE)
    served = school.settings.evaluation.model_copy(update={"beam_size": 2})
    school.settings = school.settings.model_copy(update={"evaluation": served})
    record = watch(school, 1).record
    assert record.drift == ()
    assert "measured with another decoding; materialise `wer_report`" in record.untested["2026-02-02"]
    measure_release(school, ERROR_RATE)
    assert len(watch(school, 1).record.drift) == 1


def test_a_week_is_measured_again_only_where_its_corrections_changed(school):
    first, _ = school.week(0, ERROR_RATE), school.week(1, ERROR_RATE)
    before = watch(school, 2)
    again = watch(school, 2)
    assert again.object_id == before.object_id
    assert sha256_of(school.lake.path_of(again.object_id)) == again.object_id
    school.correct(first[:9], week=0, text="cosa distinta")
    after = watch(school, 2).record
    assert after.weeks[0].inputs != before.record.weeks[0].inputs
    assert after.weeks[0].representative.rate.counts != before.record.weeks[0].representative.rate.counts
    assert after.weeks[1] == before.record.weeks[1]


def test_the_record_names_no_segment_no_session_no_person_and_no_word(school):
    lessons = school.week(0, ERROR_RATE)
    kept = watch(school, 1)
    stored = school.lake.get_bytes(kept.object_id).decode()
    for each in lessons:
        assert each.spoken.id not in stored
        assert each.spoken.session not in stored
        assert each.sentence not in stored
    assert "Ana" not in stored
    assert "Marta" not in stored
    assert load_watched(school.lake, "v1") == kept.record


def test_a_record_of_another_form_is_measured_again(school):
    school.week(0, ERROR_RATE)
    first = watch(school, 1)
    pointer = school.lake.pointer(catalogue.QUALITY.name("v1"))
    school.lake.move_pointer(pointer.name, {"record": school.lake.put_json({"format": "old"})}, pointer)
    assert watch(school, 1).record == first.record


def test_an_alarm_stands_for_four_weeks(school):
    school.week(0, ERROR_RATE)
    record = watch(school, 1).record.model_copy()
    assert record.last_week == "2026-02-02"
    assert standing(["2026-01-05", "2026-01-12", "2026-02-02"], record) == ("2026-01-12", "2026-02-02")


def test_quieter_lessons_are_noticed_beside_unchanged_errors(school):
    for week in range(4):
        school.week(week, ERROR_RATE, loudness_dbfs=-32.0 if week else -20.0)
    record = watch(school, 4).record
    assert record.alarms == ()
    loudness = next(each for each in record.inputs if each.name == "loudness_dbfs")
    assert loudness.level == pytest.approx(-20.0)
    assert loudness.alarms
    assert not any(each.alarm for each in loudness.rise)
    assert any(alert.key.startswith("inputs/v1/loudness_dbfs/") for alert in alerts_of(record))
