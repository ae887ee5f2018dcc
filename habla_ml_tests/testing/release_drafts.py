"""Drafts of a release and the files of its archives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from habla_ml.export.zip_folder import zip_folder
from habla_ml.release.manifest import (
    ArchiveMetadata,
    EvaluationMetadata,
    MeasuredRate,
    ModelReference,
    ReleaseDraft,
    TrainingMetadata,
)
from habla_ml_tests.testing.trained_versions import fake_digest

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_draft(model_version: str) -> ReleaseDraft:
    """A draft of a phone's archive and a CTranslate2 folder."""
    return ReleaseDraft(
        model_id="habla-andalusian",
        model_version=model_version,
        base_model=ModelReference(name="openai/whisper-small", revision="abc", digest=fake_digest("base")),
        training=TrainingMetadata(
            checkpoint=fake_digest(model_version),
            record=fake_digest("record"),
            identity=fake_digest("identity"),
            recipe="whisper-small-lora",
            snapshot=fake_digest("snapshot"),
            hours=12.5,
        ),
        evaluation=EvaluationMetadata(
            comparison=fake_digest("comparison"),
            snapshot=fake_digest("snapshot"),
            conventions="orthographic-v1",
            test_set=fake_digest("test"),
            test_sessions=9,
            test_words=4000,
            wer=MeasuredRate(value=0.12, low=0.1, high=0.14),
            base_wer=MeasuredRate(value=0.3, low=0.27, high=0.33),
            relative_improvement=MeasuredRate(value=0.6, low=0.5, high=0.7),
            out_of_domain_wer=None,
        ),
        archives=(
            ArchiveMetadata(
                label="coreml",
                format="mlpackage",
                quantisation="float16",
                artefact=fake_digest("coreml"),
                specification_version=7,
                minimum_ios="16.0",
            ),
            ArchiveMetadata(
                label="ctranslate2", format="ctranslate2", quantisation="int8", artefact=fake_digest("ct2")
            ),
        ),
        licence="MIT",
    )


def make_release_files(folder: Path, model_version: str, content: str = "") -> Mapping[str, Path]:
    """A zip for the phone and a folder for Habla; other `content` makes other archives."""
    place = folder / f"{model_version}{content}"
    for name in ("coreml", "ctranslate2"):
        (place / name / "sub").mkdir(parents=True, exist_ok=True)
        (place / name / "config.json").write_text(f'{{"model": "{model_version}{content}"}}')
        (place / name / "sub" / "weights.bin").write_bytes(f"{name} {model_version}{content}".encode() * 1000)
    return {
        "coreml": zip_folder(place / "coreml", place / "coreml.zip"),
        "ctranslate2": place / "ctranslate2",
    }
