import random
from collections import Counter

import pytest

from habla_ml.recordings.days import load_day
from habla_ml.review.candidates import find_segments, gather_pool
from habla_ml_tests.testing.habla_sessions import A, B, ingest_into
from habla_ml_tests.testing.habla_states import write_live_session
from habla_ml_tests.testing.recorded_days import DAY, NEXT_DAY, SimulatedSegment, annotate, publish_recordings
from habla_ml_tests.testing.released_models import make_review_settings
from habla_ml_tests.testing.sealed_sessions import seal_sessions
from habla_ml_tests.testing.spellings import respell


def names(members) -> set[str]:
    return {each.segment_id for each in members}


def test_candidates_are_recorded_segments_without_an_annotation(lake, settings, tmp_path):
    spoken = [SimulatedSegment("one", at) for at in range(6)]
    publish_recordings(lake, DAY, spoken, tmp_path)
    annotate(lake, DAY, spoken[:1])
    annotate(lake, DAY, spoken[1:2], "confirmed")
    annotate(lake, DAY, spoken[2:3], "unusable")
    pool = gather_pool(lake, settings, "2026-W07")
    assert names(pool.members) == {each.id for each in spoken[3:]}
    assert (pool.candidates, pool.hours) == (3, pytest.approx(0.9 / 3600))


def test_digital_silence_is_not_a_candidate(lake, settings, tmp_path):
    spoken = [SimulatedSegment("one", 1, loudness_dbfs=-120.0), SimulatedSegment("one", 2)]
    publish_recordings(lake, DAY, spoken, tmp_path)
    assert names(gather_pool(lake, settings, "2026-W07").members) == {spoken[1].id}


def test_audio_that_is_annotated_under_another_id_is_not_a_candidate(lake, settings, tmp_path):
    annotated, restored = SimulatedSegment("one", 1, sound=7), SimulatedSegment("backup", 1, sound=7)
    publish_recordings(lake, DAY, [annotated], tmp_path)
    publish_recordings(lake, NEXT_DAY, [restored, SimulatedSegment("other", 1)], tmp_path)
    annotate(lake, DAY, [annotated])
    assert names(gather_pool(lake, settings, "2026-W07").members) == {SimulatedSegment("other", 1).id}


def test_a_sealed_session_is_not_decoded_to_choose_what_to_review(lake, settings, tmp_path):
    publish_recordings(lake, DAY, [SimulatedSegment("sealed", at) for at in range(3)], tmp_path)
    publish_recordings(lake, NEXT_DAY, [SimulatedSegment("open", 1)], tmp_path)
    seal_sessions(lake, "sealed")
    pool = gather_pool(lake, settings, "2026-W07")
    assert names(pool.members) == {SimulatedSegment("open", 1).id}


def test_a_session_that_habla_rejected_wholly_has_no_rejected_candidate(workspace):
    write_live_session(workspace.recordings, A, 3, seed=1)
    write_live_session(workspace.recordings, B, 3, seed=2, texts={1: "uno", 3: "tres"})
    ingest_into(workspace)
    pool = gather_pool(workspace.lake, workspace.settings, "2026-W07")
    rejected = sorted((each.session_id, each.rejected) for each in pool.members)
    assert rejected == [(A, False)] * 3 + [(B, False)] * 2 + [(B, True)]
    assert len([each for each in pool.members if each.machine_confidence is not None]) == 2


def test_a_named_speaker_has_transcribed_minutes_of_all_days_and_a_label_has_none(lake, settings, tmp_path):
    publish_recordings(lake, DAY, [SimulatedSegment("one", at, seconds=6.0) for at in range(2)], tmp_path)
    annotate(lake, DAY, [SimulatedSegment("one", 0)])
    annotate(lake, DAY, [SimulatedSegment("one", 1)], "unusable")
    later = [
        SimulatedSegment("two", 1),
        SimulatedSegment("two", 2, "Luis"),
        SimulatedSegment("two", 3, "SPEAKER_00"),
        SimulatedSegment("two", 4, "Speaker A"),
        SimulatedSegment("two", 5, None),
    ]
    publish_recordings(lake, NEXT_DAY, later, tmp_path)
    known = {each.segment_id: each for each in gather_pool(lake, settings, "2026-W07").members}
    minutes = [known[each.id].annotated_minutes for each in later]
    assert minutes == [pytest.approx(0.1), 0.0, *[float("inf")] * 3]
    assert [known[each.id].speaker for each in later[2:]] == ["SPEAKER_00", "Speaker A", "unknown"]


def test_a_named_speaker_has_the_transcribed_minutes_of_every_spelling(lake, settings, tmp_path):
    labels = respell("Lucía Peña")
    spoken = [SimulatedSegment("one", at, label, seconds=6.0) for at, label in enumerate(labels)]
    publish_recordings(lake, DAY, spoken, tmp_path)
    annotate(lake, DAY, spoken)
    publish_recordings(lake, NEXT_DAY, [SimulatedSegment("two", 1, "lucía peña")], tmp_path)
    (member,) = gather_pool(lake, settings, "2026-W07").members
    assert member.annotated_minutes == pytest.approx(0.1 * len(labels))


def test_the_pool_is_bounded_and_its_suspects_are_the_worst_segments_of_all_days(lake, tmp_path):
    generator = random.Random(3)
    spoken = [SimulatedSegment(f"s{at // 50}", at, confidence=generator.random(), seconds=0.1) for at in range(600)]
    publish_recordings(lake, DAY, spoken[:350], tmp_path)
    publish_recordings(lake, NEXT_DAY, spoken[350:], tmp_path)
    pool = gather_pool(lake, make_review_settings(tmp_path, most_considered=40), "2026-W07")
    worst = sorted(spoken, key=lambda each: each.confidence or 0)[:20]
    assert [each.segment_id for each in pool.suspects] == [each.id for each in worst]
    assert len(pool.drawn) == 20
    assert pool.candidates == 600


@pytest.mark.long
def test_the_random_half_is_uniform_and_changes_with_the_week(lake, tmp_path):
    spoken = [SimulatedSegment("one", at, seconds=0.1) for at in range(20)]
    publish_recordings(lake, DAY, spoken, tmp_path)
    settings = make_review_settings(tmp_path, most_considered=8)
    first = gather_pool(lake, settings, "2026-W07")
    assert first == gather_pool(lake, settings, "2026-W07")
    counts = Counter[str]()
    for week in range(500):
        counts.update(each.segment_id for each in gather_pool(lake, settings, f"week {week}").drawn)
    # 500 weeks select 4 of 20: 100 times each, with a standard deviation of 9.
    assert len(counts) == 20
    assert all(60 < count < 140 for count in counts.values())


def test_the_pool_is_filled_without_reading_audio(lake, settings, tmp_path):
    publish_recordings(lake, DAY, [SimulatedSegment("one", 1)], tmp_path)
    lake.fetch_path(load_day(lake, DAY).parquet).unlink()
    assert gather_pool(lake, settings, "2026-W07").candidates == 1


def test_segments_to_send_back_are_found_by_their_day_annotated_or_not(lake, tmp_path):
    spoken = [SimulatedSegment("one", 1), SimulatedSegment("one", 2)]
    publish_recordings(lake, DAY, spoken, tmp_path)
    annotate(lake, DAY, spoken)
    found = find_segments(lake, [(DAY, spoken[0].id), (DAY, "gone"), (NEXT_DAY, spoken[1].id)])
    assert set(found) == {spoken[0].id}


def test_an_empty_lake_has_an_empty_pool(lake, settings):
    pool = gather_pool(lake, settings, "2026-W07")
    assert (pool.members, pool.candidates, pool.hours) == ((), 0, 0.0)
