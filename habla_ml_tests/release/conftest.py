"""A release to publish, and the stores to publish it to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from habla_ml.release.archive import zip_folder
from habla_ml.release.manifest import (
    ArchiveFacts,
    EvaluationFacts,
    Measured,
    ModelReference,
    ReleaseDraft,
    TrainingFacts,
)
from habla_ml.training.identity import RunIdentity
from habla_ml.training.record import TrainingRecord
from habla_ml.training.validation import ValidationPoint
from habla_ml_tests.lake.conftest import new_store, s3_client, s3_endpoint, small_disk, store

__all__ = ["new_store", "s3_client", "s3_endpoint", "small_disk", "store"]

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def draft_of(model_version: str) -> ReleaseDraft:
    """A draft of a phone's archive and a CTranslate2 folder."""
    return ReleaseDraft(
        model_id="habla-andalusian",
        model_version=model_version,
        base_model=ModelReference(name="openai/whisper-small", revision="abc", digest=sha("base")),
        training=TrainingFacts(
            checkpoint=sha(model_version),
            record=sha("record"),
            identity=sha("identity"),
            recipe="whisper-small-lora",
            snapshot=sha("snapshot"),
            hours=12.5,
        ),
        evaluation=EvaluationFacts(
            comparison=sha("comparison"),
            snapshot=sha("snapshot"),
            conventions="orthographic-v1",
            test_set=sha("test"),
            test_sessions=9,
            test_words=4000,
            wer=Measured(value=0.12, low=0.1, high=0.14),
            base_wer=Measured(value=0.3, low=0.27, high=0.33),
            relative_improvement=Measured(value=0.6, low=0.5, high=0.7),
            out_of_domain_wer=None,
        ),
        archives=(
            ArchiveFacts(
                label="coreml",
                format="mlpackage",
                quantisation="float16",
                artefact=sha("coreml"),
                specification_version=7,
                minimum_ios="16.0",
            ),
            ArchiveFacts(label="ctranslate2", format="ctranslate2", quantisation="int8", artefact=sha("ct2")),
        ),
        licence="MIT",
    )


def record_of(version: str, seed: int = 1, **identity: Any) -> TrainingRecord:
    """How a version was trained; `identity` replaces what decided its weights."""
    trained = {"recipe": sha("recipe"), "snapshot": sha("snapshot"), "base_model": sha("base"), "replay": ""}
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
        hours_heard=25.0,
        skipped={},
        wall_s=60.0,
        device="cpu",
        precision="fp32",
        version=version,
        tree=sha(f"checkpoint of {version}"),
    )


def files_of(folder: Path, model_version: str, content: str = "") -> Mapping[str, Path]:
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
    return draft_of("v2")


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, Path]:
    return files_of(tmp_path / "files", "v2")
