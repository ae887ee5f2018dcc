"""Each utterance is in the right slice of each dimension."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from habla_ml.audio.background_sounds import synthesise_room_noise
from habla_ml.evaluation.comparison.records import Slice
from habla_ml.evaluation.comparison.slices import DIMENSIONS
from habla_ml.evaluation.metrics.inputs import Reference
from habla_ml_tests.testing.simulated_hypotheses import TEST_SETTINGS, make_comparison, make_utterance, make_utterances
from habla_ml_tests.testing.spellings import respell


def slices_by_name(utterances, dimension: str) -> dict[str, int]:
    found = make_comparison(utterances, {"base": 0.3, "candidate": 0.2}).slices
    return {each.name: each.utterances for each in found if each.dimension == dimension}


def test_the_stored_dimensions_are_the_computed_ones() -> None:
    assert get_args(Slice.model_fields["dimension"].annotation) == DIMENSIONS


def test_each_utterance_is_in_one_slice_of_each_dimension() -> None:
    found = make_comparison(make_utterances(4, 9), {"base": 0.3, "candidate": 0.2}).slices
    counted: Counter[str] = Counter()
    for each in found:
        counted[each.dimension] += each.utterances
    assert counted == dict.fromkeys(DIMENSIONS, 36)
    assert [each.dimension for each in found] == sorted((each.dimension for each in found), key=DIMENSIONS.index)


@pytest.mark.parametrize(
    ("field", "values", "dimension", "names"),
    [
        ("duration_s", (0.4, 2.0, 3.999, 8.0), "duration", ["0–2 s", "2–4 s", "8 s and more"]),
        ("role", ("teacher", "student", "", ""), "role", ["student", "teacher", "unknown"]),
        ("is_blind", (True, False, False, True), "reference", ["blind", "pre-filled or unknown"]),
        ("source", ("habla", "table", "", "habla"), "source", ["habla", "table", "unknown"]),
        (
            "is_seen_speaker",
            (True, False, None, True),
            "seen_speaker",
            ["known from training", "new to the model", "unknown"],
        ),
        ("is_seen_sentence", (True, False, None, False), "sentence", ["new sentence", "seen sentence", "unknown"]),
        ("session_id", ("monday", "tuesday", "friday", "friday"), "session", ["friday", "monday", "tuesday"]),
    ],
)
def test_the_value_of_an_utterance_chooses_its_slice_and_a_missing_value_is_unknown(
    field: str, values: tuple[object, ...], dimension: str, names: list[str]
) -> None:
    made = [make_utterance(f"s{at}", f"session-{at}", "hola") for at in range(len(values))]
    changed = [replace(each, **{field: value}) for each, value in zip(made, values, strict=True)]
    found = slices_by_name(changed, dimension)
    assert list(found) == names
    assert sum(found.values()) == len(values)


@pytest.mark.parametrize(("field", "dimension"), [("speaker", "speaker"), ("session_id", "session")])
def test_a_name_in_many_spellings_is_one_slice_under_the_most_frequent_one(field: str, dimension: str) -> None:
    names = [*respell("Lucía Peña"), "Lucía Peña", "Paco"]
    made = [make_utterance(f"s{at}", "a", "hola") for at in range(len(names))]
    changed = [replace(each, **{field: name}) for each, name in zip(made, names, strict=True)]
    assert slices_by_name(changed, dimension) == {"Lucía Peña": len(names) - 1, "Paco": 1}


def make_voiced(snr_db: float) -> np.ndarray:
    """An intermittent tone with noise."""
    time_s = np.arange(48_000) / 16_000
    tone = np.sin(2 * np.pi * 300 * time_s) * (np.sin(2 * np.pi * 1.5 * time_s) > 0)
    level_dbfs = 10 * np.log10(np.mean(tone**2))
    noise = synthesise_room_noise(48_000, level_dbfs - snr_db, np.random.default_rng(0))
    return ((tone + noise) * 0.1).astype(np.float32)


def test_noise_is_measured_from_the_samples() -> None:
    clips = [
        make_utterance(f"s{at}", "a", "hola", audio=make_voiced(snr)) for at, snr in enumerate((5.0, 15.0, 25.0, 30.0))
    ]
    clips.append(make_utterance("s9", "a", "hola", audio=np.zeros(16_000, np.float32)))
    assert slices_by_name(clips, "snr") == {
        "below 10 dB": 1,
        "10–20 dB": 1,
        "20 dB and more": 2,
        "unknown": 1,
    }
    assert Reference.of(clips[0]).snr_db == pytest.approx(5.0, abs=1.0)


def test_a_slice_of_one_speaker_is_drawn_by_its_sessions_where_speakers_are_drawn() -> None:
    utterances = make_utterances(6, 9)
    many = {"bootstrap_draws": 1500, "smallest_slice_words": 20}
    found = {}
    for unit in ("session", "speaker"):
        settings = TEST_SETTINGS.model_copy(update={**many, "unit": unit})
        compared = make_comparison(utterances, {"base": 0.3, "candidate": 0.2}, settings=settings)
        changes = {each.name: each.points for each in compared.changes[0].slices if each.dimension == "speaker"}
        rates = {each.name: each.rates for each in compared.slices if each.dimension == "speaker"}
        found[unit] = [(changes[name], rates[name]) for name in ("Ana", "Luis")]
    assert found["speaker"] == found["session"]


def test_a_slice_of_one_session_is_not_compared_however_small_a_slice_may_be() -> None:
    settings = TEST_SETTINGS.model_copy(
        update={"bootstrap_draws": 1500, "smallest_slice_sessions": 1, "smallest_slice_words": 1}
    )
    compared = make_comparison(make_utterances(4, 9), {"base": 0.3, "candidate": 0.2}, settings=settings)
    dimensions = {each.dimension for each in compared.changes[0].slices}
    assert "speaker" in dimensions
    assert "session" not in dimensions
