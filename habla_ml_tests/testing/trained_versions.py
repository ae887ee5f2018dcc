"""Model versions that were planned and trained, as the lake records them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from habla_ml.lake import Lake, catalogue
from habla_ml.training.checkpoints import ValidationPoint
from habla_ml.training.identity import RunIdentity
from habla_ml.training.plan import VersionPlan
from habla_ml.training.record import TrainingRecord

RECIPE_TEXT = """# Why it is so.
name: some
base_model: package:demo/base_model   # shipped
learning_rate: 1.0e-3
max_steps: 2
seed: 7    # a person chose it
"""


def store_trained_plan(lake: Lake, version: str, text: str = RECIPE_TEXT) -> VersionPlan:
    """Store the plan and the training record of a version."""
    plan = VersionPlan(version, "5" * 64, lake.put_bytes(text.encode()), 3.5)
    lake.move_pointer(catalogue.PLAN.name(version), asdict(plan), None)
    record = lake.put_json(make_training_record(version).model_dump(mode="json"))
    lake.move_pointer(catalogue.CHECKPOINT.name(version), {"tree": "0" * 64, "record": record}, None)
    return plan


def fake_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_training_record(version: str, seed: int = 1, **identity: Any) -> TrainingRecord:
    """Return the record of a training; `identity` replaces inputs of that training."""
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
