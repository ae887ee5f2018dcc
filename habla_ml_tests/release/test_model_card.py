"""The model card: numbers with intervals, origin, limits and consent, and a header that the hub accepts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.release.hub.model_card import build_model_card
from habla_ml.release.manifest import MeasuredRate, ModelReference, OverrideMetadata
from habla_ml_tests.testing.hub_releases import HubReleases, hub, hub_releases
from habla_ml_tests.testing.trained_versions import make_training_record

__all__ = ["hub", "hub_releases"]


def read_header(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_the_card_states_data_conventions_metrics_origin_licence_and_time(hub_releases: HubReleases) -> None:
    hub_releases.publish(hub_releases.release("v2"))
    card = hub_releases.repository.files("v2")["README.md"].decode()

    for expected in (
        "12.50 hours of corrected classroom speech, 30 clips",
        "Conventions of the text: orthographic-v1",
        "| this model, classroom | 12.0% | 10.0% to 14.0% |",
        "| base model, classroom | 30.0% | 27.0% to 33.0% |",
        "| fewer errors than the base model | 60.0% | 50.0% to 70.0% |",
        "9 sessions with 4000 words",
        "openai/whisper-small, revision `abc`",
        "licence MIT",
        "Training time: 1 minutes on cpu, fp32",
        "The repository has no voices",
        "## Limits",
        'revision="v2"',
    ):
        assert expected in card
    header = read_header(card)
    assert (header["license"], header["language"], header["base_model"]) == ("mit", "es", "openai/whisper-small")
    assert header["pipeline_tag"] == "automatic-speech-recognition"
    assert header["model-index"][0]["results"][0]["metrics"][0]["value"] == 12.0


def test_the_hub_validated_the_header(hub_releases: HubReleases) -> None:
    hub_releases.publish(hub_releases.release("v2", licence="Licence of our school"))
    header = read_header(hub_releases.repository.files("v2")["README.md"].decode())
    assert (header["license"], header["license_name"]) == ("other", "licence-of-our-school")
    assert hub_releases.hub.calls("POST", "/api/validate-yaml") == 1


def test_neither_card_nor_record_names_a_person_or_a_path(hub_releases: HubReleases) -> None:
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    signed = OverrideMetadata(
        signed_by="Macarena Reyes", reason="Macarena wants it for her own class", signed_at=moment
    )
    base = ModelReference(name="/home/macarena/models/whisper-small", revision=None, digest="0" * 64)
    hub_releases.publish(hub_releases.release("v2", override=signed, base_model=base))
    files = hub_releases.repository.files("v2")
    card, record = files["README.md"].decode(), files["habla_release.json"].decode()
    assert "macarena" not in (card + record).lower()
    assert "whisper-small, which is on no hub, digest `000000000000`" in card
    assert "although the rule for releases refused it" in card
    assert "base_model" not in read_header(card)


def test_general_speech_is_listed_with_origin_and_licence(hub_releases: HubReleases) -> None:
    manifest = hub_releases.release("v2")
    source = SpeechSourceSummary(
        name="folder/table.csv",
        kind="table",
        licence="CC-BY-4.0",
        origin="Common Voice",
        selection="",
        clips=900,
        hours=1.5,
        left_out={},
        digest="0" * 64,
    )
    record = make_training_record("v2").model_copy(update={"general_speech": (source,), "non_speech_clips": 7})
    card = build_model_card(manifest, record, "none")
    assert "1.50 hours of general Spanish; origin: Common Voice; licence: CC-BY-4.0" in card
    assert "7 clips without speech" in card
    assert "table.csv" not in card


def test_an_error_rate_on_general_speech_is_shown_where_it_was_measured(hub_releases: HubReleases) -> None:
    manifest = hub_releases.release("v2")
    measured = manifest.evaluation.model_copy(
        update={"out_of_domain_wer": MeasuredRate(value=0.08, low=0.07, high=0.09)}
    )
    card = build_model_card(manifest.model_copy(update={"evaluation": measured}), make_training_record("v2"), "none")
    assert "| this model, general Spanish | 8.0% | 7.0% to 9.0% |" in card


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("folder", 'revision="v2", allow_patterns="ctranslate2/*")\nmodel = WhisperModel(folder + "/ctranslate2")'),
        ("branch", 'revision="v2-ctranslate2")\nmodel = WhisperModel(folder)'),
    ],
)
def test_the_card_shows_how_to_load_the_model_for_habla(hub_releases: HubReleases, layout: Any, expected: str) -> None:
    card = build_model_card(hub_releases.release("v2"), make_training_record("v2"), layout)
    assert expected in card
