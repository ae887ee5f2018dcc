import pytest

from habla_ml.errors import CorpusError
from habla_ml.lake import catalogue, compute_sha256
from habla_ml.review.candidates import gather_pool
from habla_ml.review.model_hypotheses import _compute_disagreements, decode_pool, find_released_models
from habla_ml.transcription.hypothesis_cache import read_hypotheses
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml_tests.testing.recorded_days import DAY, NEXT_DAY, SimulatedSegment, publish_recordings
from habla_ml_tests.testing.released_models import release, serve_without_speech_detection

TEST_SEGMENTS = [
    SimulatedSegment("one", 1),
    SimulatedSegment("one", 2, text=None),
    SimulatedSegment("two", 1, sound=3),
    SimulatedSegment("two", 2, sound=3),
]


def pool_of(lake, settings, tmp_path):
    publish_recordings(lake, DAY, TEST_SEGMENTS[:2], tmp_path)
    publish_recordings(lake, NEXT_DAY, TEST_SEGMENTS[2:], tmp_path)
    return gather_pool(lake, settings, "2026-W07").members


def test_disagreement_is_a_share_of_the_words_of_the_longer_text():
    first = ["Los niños traen la libreta.", "hola", "", "", "uno dos"]
    second = ["los niños traen una libreta azul", "¡Hola!", "", "dos palabras", ""]
    assert _compute_disagreements(first, second) == [2 / 6, 0, 0, 1, 1]


@pytest.mark.long
def test_the_current_model_decodes_all_and_the_previous_one_segments_without_a_text_of_habla(
    lake, store, settings, tmp_path, artefact
):
    settings = serve_without_speech_detection(settings)
    release(lake, store, "v1", artefact, tmp_path / "models")
    release(lake, store, "v2", artefact, tmp_path / "models")
    models = find_released_models(lake, store, "stable")
    assert [each.version for each in models] == ["v2", "v1"]
    messages: list[str] = []
    decoded_pool = decode_pool(lake, pool_of(lake, settings, tmp_path), models, settings, messages.append)
    assert set(decoded_pool.by_segment) == {each.id for each in TEST_SEGMENTS}
    assert decoded_pool.decoded == 3 + 1  # Two segments have the same audio; one has no text of Habla.
    options = build_served_options(settings.evaluation)
    assert [len(read_hypotheses(lake, each.artefact, options)) for each in models] == [3, 1]
    hypotheses = [decoded_pool.by_segment[each.id] for each in TEST_SEGMENTS]
    assert [each.second_source for each in hypotheses] == ["Habla", "v1", "Habla", "Habla"]
    assert hypotheses[1].disagreement == 0  # both are the same model
    assert all(each.model_version == "v2" and each.avg_logprob < 0 for each in hypotheses)


@pytest.mark.long
def test_cached_hypotheses_need_no_decoding_and_no_audio(lake, store, settings, tmp_path, artefact):
    release(lake, store, "v1", artefact, tmp_path / "models")
    models, pool = find_released_models(lake, store, "stable"), pool_of(lake, settings, tmp_path)
    first = decode_pool(lake, pool, models, settings, print)
    for day in (DAY, NEXT_DAY):
        lake.fetch_path(lake.read_pointer(catalogue.RECORDINGS.name(day)).value["parquet"]).unlink()
    second = decode_pool(lake, pool, models, settings, print)
    assert (first.decoded, second.decoded) == (3, 0)
    assert second.by_segment == first.by_segment


def test_nothing_is_decoded_without_a_release(lake, store, settings, tmp_path):
    assert find_released_models(lake, store, "stable") == ()
    decoded_pool = decode_pool(lake, pool_of(lake, settings, tmp_path), (), settings, print)
    assert (decoded_pool.by_segment, decoded_pool.decoded) == ({}, 0)


def test_missing_audio_is_reported_with_its_day(lake, store, settings, tmp_path, artefact):
    release(lake, store, "v1", artefact, tmp_path / "models")
    pool = pool_of(lake, settings, tmp_path)
    first, second = (lake.read_pointer(catalogue.RECORDINGS.name(day)) for day in (DAY, NEXT_DAY))
    lake.move_pointer(first.name, {**first.value, "parquet": second.value["parquet"]}, first)
    assert compute_sha256(lake.fetch_path(second.value["parquet"])) == second.value["parquet"]
    with pytest.raises(CorpusError, match=rf"day {DAY} names 2 segments .* materialise `raw_recordings`"):
        decode_pool(lake, pool, find_released_models(lake, store, "stable"), settings, print)
