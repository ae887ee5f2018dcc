"""The Spanish texts of review reasons and rules on the labelling page."""

from __future__ import annotations

import pytest
import yaml

from habla_ml.annotation.sources.label_studio.spanish import translate_reason, translate_rules
from habla_ml.review.selection import RANDOM_REASON, rank
from habla_ml.settings import ReviewSettings, ReviewWeights
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.recorded_days import make_decoded_candidate


@pytest.mark.parametrize(
    ("weight", "values", "text"),
    [
        ("uncertainty", {"avg_logprob": -0.7}, "el modelo duda (seguridad: 50 %)"),
        ("disagreement", {"disagreement": 0.6}, "dos transcripciones difieren en el 60 % de las palabras"),
        ("no_speech", {"no_speech_prob": 0.4}, "puede que no hable nadie (40 %)"),
        ("confidence", {"machine_confidence": 0.3}, "Habla duda (seguridad: 30 %)"),
        ("rejected", {"rejected": True}, "Habla no transcribió nada"),
        ("quiet", {"loudness_dbfs": -47.2}, "se oye bajo (-47 dBFS)"),
        ("new_speaker", {"annotated_minutes": 0.4}, "voz con poco transcrito (0,4 min)"),
    ],
)
def test_every_reason_of_the_ranking_is_translated_with_its_figure(
    weight: str, values: dict[str, float | bool], text: str
) -> None:
    weights = ReviewWeights(**{**dict.fromkeys(ReviewWeights.model_fields, 0.0), weight: 1.0})
    [found] = rank([make_decoded_candidate("a", **values)], ReviewSettings(weights=weights), -35.0)
    [reason] = found.reasons
    assert translate_reason(reason) == text


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (RANDOM_REASON, "elegido al azar"),
        ("conventions: digits, my rule", "no cumple las convenciones: cifras en vez de letras, my rule"),
        ("[noise] of another version", "[noise] of another version"),
    ],
)
def test_random_segments_and_broken_rules_are_translated_and_unknown_reasons_stay(reason: str, text: str) -> None:
    assert translate_reason(reason) == text


def test_every_rule_of_the_shipped_conventions_has_a_spanish_text() -> None:
    rules = {
        rule["name"]
        for path in V1.parent.glob("*.yaml")
        for rule in yaml.safe_load(path.read_text("utf-8")).get("requirements", [])
    }
    assert rules
    assert {rule for rule in rules if translate_rules([rule]) == rule} == set()
