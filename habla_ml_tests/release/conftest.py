"""A release to publish, and the stores to publish it to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from habla_ml.export.zip_folder import zip_folder
from habla_ml.release.manifest import (
    ArchiveMetadata,
    EvaluationMetadata,
    MeasuredRate,
    ModelReference,
    ReleaseDraft,
    TrainingMetadata,
)
from habla_ml.training.identity import RunIdentity
from habla_ml.training.record import TrainingRecord
from habla_ml.training.validation import ValidationPoint
from habla_ml_tests.lake.conftest import new_store, s3_client, s3_endpoint, small_disk, store

__all__ = ["new_store", "s3_client", "s3_endpoint", "small_disk", "store"]

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def fake_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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


def make_training_record(version: str, seed: int = 1, **identity: Any) -> TrainingRecord:
    """How a version was trained; `identity` replaces what decided its weights."""
    trained = {
        "recipe": fake_digest("recipe"),
        "snapshot": fake_digest("snapshot"),
        "base_model": fake_digest("base"),
        "replay": "",
    }
    whole = RunIdentity.model_validate(
        {**trained, "labels": "1", "seed": seed, "code": "1", "packages": {}, **identity}
    )
    return TrainingRecord(
        identity=whole,
        identity_digest=whole.digest,
        recipe="whisper-small-lora",
        base_model="openai/whisper-small",
        base_model_revision="abc",
        steps=10,
        best_step=5,
        validation=(ValidationPoint(step=5, wer=0.2, loss=1.0),),
        validation_clips=3,
        losses=(),
        train_clips=30,
        train_hours=12.5,
        processed_hours=25.0,
        skipped={},
        wall_s=60.0,
        device="cpu",
        precision="fp32",
        version=version,
        tree=fake_digest(f"checkpoint of {version}"),
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


@pytest.fixture
def draft() -> ReleaseDraft:
    return make_draft("v2")


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, Path]:
    return make_release_files(tmp_path / "files", "v2")
