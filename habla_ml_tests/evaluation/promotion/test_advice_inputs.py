"""Inputs of the training advice from a lake: the base decodes for real, versions come from stored evidence."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from habla_ml.corpus.conventions import load_conventions
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.test_set_reuse import list_version_scores
from habla_ml.evaluation.metrics.domain_vocabulary import DomainVocabulary
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole, OptionalMeasurements
from habla_ml.evaluation.promotion.advice_inputs import (
    advise_for_version,
    collect_advice_inputs,
    find_most_frequent_error,
)
from habla_ml.evaluation.run import advise_now
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings
from habla_ml.training.plan import VersionPlan
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.released_models import make_review_settings
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_utterance,
    make_utterances,
    simulate_hypotheses,
)
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, write_corpus_day
from habla_ml_tests.testing.trained_versions import fake_digest, make_training_record
from habla_ml_tests.testing.training_snapshot import TrainingClipSpec, publish_snapshot

TEST_SET = make_utterances(8, 12)
TEXTS = ("abrid los libros", "gracias, profe", "¿dónde está el lápiz?", "los niños para ahora")
RATES = {"base": 0.4, "v1": 0.3, "v2": 0.2, "v3": 0.15, "v2-s2": 0.1, "v1-p50": 0.35}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_review_settings(tmp_path)


def fake_artefact_digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def evidence(roles: dict[ModelRole, str], speech=TEST_SET, scoring=TEST_SETTINGS) -> Comparison:
    evaluated = [
        DecodedModel(
            name,
            role,
            fake_artefact_digest(name),
            DecodingOptions(),
            simulate_hypotheses(speech, RATES[name], seed=len(name)),
        )
        for role, name in roles.items()
    ]
    return compare_decoded_models(speech, evaluated, scoring, TEST_PROVENANCE)


def add_version(lake: Lake, version: str, hours: float, found: Comparison, recipe: str = "recipe") -> None:
    plan = VersionPlan(version, "5" * 64, fake_digest(recipe), hours * 1.25)
    record = make_training_record(version, recipe=fake_digest(recipe)).model_copy(update={"train_hours": hours})
    values = {
        "plan": asdict(plan),
        "checkpoint": {"tree": record.tree, "record": lake.put_json(record.model_dump(mode="json"))},
        "ctranslate2": {"tree": fake_artefact_digest(version), "checkpoint": record.tree},
        "report": {"comparison": lake.put_bytes(found.to_json().encode())},
    }
    for name, value in values.items():
        lake.move_pointer(f"models/{version}/{name}", value, None)


def set_hours(lake: Lake, days: dict[str, float]) -> None:
    for day, hours in days.items():
        line = AnnotatedSegmentSpec(day, sound=fake_digest(day), seconds=hours * 3600)
        write_corpus_day(lake, day, [line], load_conventions(V1))
        lake.move_pointer(f"recordings/{day}", {}, None)


def refuse_to_decode(line: str) -> None:
    raise AssertionError(f"nothing has to be decoded: {line}")


def test_an_empty_lake_gives_the_advice_to_collect_more(lake: Lake, settings: Settings) -> None:
    found = advise_now(lake, settings, refuse_to_decode)
    assert (found.verdict, found.inputs.base_wer, found.inputs.hours) == ("collect_more", None, 0)


@pytest.mark.long
def test_without_a_version_the_base_decodes_the_test_set_once(lake: Lake, settings: Settings) -> None:
    snapshot = publish_snapshot(
        lake, [TrainingClipSpec(f"segment-{at:03}", "test", TEXTS[at % 4], 1.0) for at in range(4)]
    )
    lake.move_pointer("splits/latest", {"snapshot": snapshot.id}, None)
    set_hours(lake, {"2026-02-02": 6.0, "2026-04-04": 5.5})
    found = advise_now(lake, settings, lambda _: None)
    inputs = found.inputs
    assert inputs.base_wer is not None
    assert (inputs.hours, inputs.test_sessions, inputs.latest) == (11.5, 2, None)
    assert inputs.months == pytest.approx(2.0, abs=0.05)
    before = sorted(lake.list_pointers("hypotheses/"))
    assert len(before) == 1
    seen = lake.read_pointer(before[0])
    assert advise_now(lake, settings, lambda _: None) == found
    assert lake.read_pointer(before[0]) == seen


@pytest.mark.long
def test_every_version_on_the_newest_test_set_is_a_point(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}))
    add_version(lake, "v2", 8.0, evidence({"base": "base", "candidate": "v2"}))
    newest = evidence({"base": "base", "previous": "v2", "candidate": "v3"})
    add_version(lake, "v3", 12.0, newest)
    set_hours(lake, {"2026-02-02": 17.0})
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is not None
    assert {each.name: each.hours for each in curve.points} == {"base": 0, "v1": 4, "v2": 8, "v3": 12}
    rates = {each.name: each.wer.value for each in newest.models}
    assert all(each.wer == pytest.approx(rates[each.name]) for each in curve.points if each.name in rates)
    assert inputs.latest is not None
    assert inputs.latest.hours_since == pytest.approx(2.0)
    assert (inputs.latest.name, inputs.latest.trained_hours, inputs.latest.verdict) == (
        "v3",
        12,
        "deploy",
    )
    assert inputs.notes == ()
    assert inputs.most_frequent_error == find_most_frequent_error(newest, newest.models[0]) is not None
    found = advise_now(lake, settings, refuse_to_decode)
    assert (found.verdict, [each.hours for each in found.forecasts]) == ("fine_tune", [17, 22, 32])


@pytest.mark.long
def test_the_advice_is_the_same_before_and_after_the_report_is_stored(lake: Lake, settings: Settings) -> None:
    first = evidence({"base": "base", "candidate": "v1"})
    add_version(lake, "v1", 4.0, first)
    add_version(lake, "v2", 8.0, (newest := evidence({"base": "base", "previous": "v1", "candidate": "v2"})))
    stored = advise_now(lake, settings, refuse_to_decode)
    older = advise_for_version(lake, settings, "v1", first).inputs.latest
    assert older is not None
    assert older.name == "v1", "a later version does not count when an older one is scored again"
    assert older.hours_since == 0.0, "the corpus is smaller than when the version was planned"
    lake.delete_pointer("models/v2/report")
    assert advise_for_version(lake, settings, "v2", newest) == stored


@pytest.mark.long
def test_a_repeat_with_another_seed_changes_nothing(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}))
    add_version(lake, "v2", 8.0, evidence({"base": "base", "candidate": "v2"}))
    before = advise_now(lake, settings, refuse_to_decode)
    add_version(lake, "v2-s2", 8.0, evidence({"base": "base", "candidate": "v2-s2"}))
    assert advise_now(lake, settings, refuse_to_decode) == before
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert inputs.latest is not None
    assert curve is not None
    assert inputs.latest.name == "v2"
    assert [each.name for each in curve.points] == ["base", "v2", "v1"]


@pytest.mark.long
def test_a_subset_run_is_a_point_but_no_newer_version(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 8.0, evidence({"base": "base", "candidate": "v1"}))
    add_version(lake, "v1-p50", 4.0, evidence({"base": "base", "candidate": "v1-p50"}), recipe="half")
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is not None
    assert inputs.latest is not None
    assert (inputs.latest.name, inputs.notes) == ("v1", ())
    assert [(each.name, each.hours) for each in curve.points] == [("base", 0), ("v1", 8), ("v1-p50", 4)]


@pytest.mark.long
def test_versions_with_other_test_sets_are_listed_but_not_on_the_curve(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}, make_utterances(8, 12, seed=3)))
    add_version(lake, "v2", 8.0, evidence({"base": "base", "candidate": "v2"}), recipe="another")
    add_version(lake, "v3", 12.0, evidence({"base": "base", "candidate": "v3"}))
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is not None
    assert [each.name for each in curve.points] == ["base", "v3", "v2"]
    assert "Not on the curve: v1, because" in inputs.notes[0]
    assert "differ in recipe" in inputs.notes[1]


def test_a_version_whose_speakers_had_other_names_is_listed_but_not_on_the_curve(
    lake: Lake, settings: Settings
) -> None:
    by_speaker = TEST_SETTINGS.model_copy(update={"unit": "speaker"})
    before = [replace(each, speaker=each.speaker.replace("Ana", "SPEAKER_01")) for each in TEST_SET]
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}, before, by_speaker))
    add_version(lake, "v2", 8.0, evidence({"base": "base", "candidate": "v2"}, TEST_SET, by_speaker))
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is not None
    assert [each.name for each in curve.points] == ["base", "v2"]
    assert "Not on the curve: v1, because" in inputs.notes[0]


@pytest.mark.long
def test_a_version_that_was_scored_again_on_the_newest_test_set_is_a_point(lake: Lake, settings: Settings) -> None:
    old_set = make_utterances(8, 12, seed=3)
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}, old_set))
    (again,) = list_version_scores(evidence({"base": "base", "candidate": "v1"}))
    newest = evidence({"base": "base", "candidate": "v2"}).model_copy(update={"versions": (again,)})
    add_version(lake, "v2", 8.0, newest)
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is not None
    assert again.interval is not None
    assert {each.name: each.wer for each in curve.points}["v1"] == pytest.approx(again.interval.value)
    assert inputs.notes == ()


def test_a_version_converted_since_its_evaluation_is_not_on_the_curve(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}))
    seen = lake.read_pointer("models/v1/ctranslate2")
    assert seen is not None
    lake.move_pointer("models/v1/ctranslate2", {**seen.value, "tree": fake_artefact_digest("other")}, seen)
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is None
    assert "Not on the curve: v1" in inputs.notes[0]


def test_a_test_set_too_small_for_a_release_gives_no_forecast(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}, make_utterances(4, 12)))
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is None
    assert "4 sessions, fewer than the 5" in inputs.notes[0]


def test_a_version_with_other_decoding_options_is_not_on_the_curve(lake: Lake, settings: Settings) -> None:
    found = evidence({"base": "base", "candidate": "v1"})
    greedy = [
        each.model_copy(update={"decoding": DecodingOptions(beam_size=1)}) if each.name == "v1" else each
        for each in found.models
    ]
    add_version(lake, "v1", 4.0, found.model_copy(update={"models": tuple(greedy)}))
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is None
    assert "Not on the curve: v1, because the test set, the options" in inputs.notes[0]


@pytest.mark.long
def test_evidence_of_an_older_format_is_skipped(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 4.0, evidence({"base": "base", "candidate": "v1"}))
    add_version(lake, "v2", 8.0, evidence({"base": "base", "candidate": "v2"}))
    seen = lake.read_pointer("models/v1/report")
    lake.move_pointer("models/v1/report", {"comparison": lake.put_bytes(b'{"format": "old"}')}, seen)
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert curve is not None
    assert [each.name for each in curve.points] == ["base", "v2"]
    assert "Not on the curve: v1, because" in inputs.notes[0]


@pytest.mark.parametrize("is_listed", [False, True])
def test_the_term_behind_most_errors_is_found_with_varying_hypotheses(is_listed: bool) -> None:
    speech = [make_utterance(f"s{at:02}", f"session-{at % 3}", "el perímetro del patio") for at in range(40)]
    texts = [f"el {chr(97 + at % 26)}{chr(97 + at // 26)}ro del patio" for at in range(39)] + ["el perímetro del"]
    hypotheses = [Hypothesis(each.audio_sha256, text, 0.1, 1.0, None) for each, text in zip(speech, texts, strict=True)]
    model = DecodedModel("base", "base", fake_artefact_digest("base"), DecodingOptions(), hypotheses)
    terms = DomainVocabulary.of([("perímetro",)]) if is_listed else None
    comparison = compare_decoded_models(
        speech, [model], TEST_SETTINGS, TEST_PROVENANCE, OptionalMeasurements(vocabulary=terms)
    )
    found = find_most_frequent_error(comparison, comparison.models[0])
    assert found is not None
    # The table of confusions keeps 30 of the 40, one of them the lost `patio`; a listed term is counted whole.
    assert (found.term, found.share) == ("perímetro", pytest.approx((39 if is_listed else 29) / 40))


def test_the_command_prints_verdict_reasons_and_forecasts(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    add_version(lake, "v1", 12.0, evidence({"base": "base", "candidate": "v1"}))
    set_hours(lake, {"2026-02-02": 15.0})
    done = run_habla_ml("advise", "-p", str(tmp_path / "configs" / "test.yaml"))
    assert done.returncode == 0, done.stderr
    advice = advise_now(lake, settings, refuse_to_decode)
    assert done.stdout.startswith(advice.headline)
    assert all(f"- {each}" in done.stdout for each in advice.reasons)
    assert all(f"+{hours}" in done.stdout for hours in (5, 10, 20))


def test_a_version_without_a_base_or_a_training_record_has_no_figures_of_them(lake: Lake, settings: Settings) -> None:
    add_version(lake, "v1", 4.0, evidence({"candidate": "v1"}))
    lake.delete_pointer("models/v1/checkpoint")
    set_hours(lake, {"2026-02-02": 1.0, "2026-04-04": 0.5})
    inputs, curve = collect_advice_inputs(lake, settings, None)
    assert (inputs.hours, inputs.months) == (1.5, pytest.approx(61 / (365.25 / 12)))
    assert (curve, inputs.base_wer, inputs.most_frequent_error) == (None, None, None)
    assert inputs.latest is not None
    assert (inputs.latest.improvement, inputs.latest.trained_hours) == (None, 0.0)
    assert inputs.latest.main_reason == "The base model was not scored, so the improvement is unknown."


def test_the_forecast_starts_from_the_newest_version_also_if_an_older_one_had_more_speech(
    lake: Lake, settings: Settings
) -> None:
    add_version(lake, "v1", 9.0, evidence({"base": "base", "candidate": "v1"}))
    add_version(lake, "v2", 5.0, evidence({"base": "base", "candidate": "v2"}))
    _, curve = collect_advice_inputs(lake, settings, None)
    assert curve is not None
    assert (curve.newest.name, curve.newest.hours) == ("v2", 5.0)
