"""The draft of a release says about a version exactly what was measured and recorded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from habla_ml.evaluation.comparison.format_scores import FormatScores
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake import Lake
from habla_ml.release.candidate import collect_candidate
from habla_ml.release.gate import check_gate
from habla_ml.release.manifest import MeasuredFormat, MeasuredRate
from habla_ml.training.record import TrainingRecord
from habla_ml_tests.release.test_gate import (
    PRESENT,
    PROMOTION_RULE,
    lake,
    make_release_settings,
    measured,
    set_pointer,
    train_and_export,
)
from habla_ml_tests.testing.decoded_formats import make_format_score

__all__ = ["lake"]


def convert(interval: Interval | None) -> MeasuredRate:
    assert interval is not None
    return MeasuredRate(**asdict(interval))


@pytest.mark.parametrize("is_emulated", [True, False])
@pytest.mark.parametrize("general", [None, Interval(0.1, 0.2, 0.3)])
def test_the_draft_has_the_figures_of_its_evidence_and_training(
    lake: Lake, tmp_path: Path, general: Interval | None, is_emulated: bool
) -> None:
    train_and_export(lake, tmp_path)
    checkpoint, served, phone = (
        lake.read_pointer(f"models/v2/{name}") for name in ("checkpoint", "ctranslate2", "coreml")
    )
    assert checkpoint is not None
    assert served is not None
    assert phone is not None
    score = make_format_score("coreml", phone.value["archive"], Interval(-1.0, 0.5, 1.5), is_emulated)
    comparison = measured(served.value["tree"])
    base, candidate = comparison.models
    metrics = {name: each for name, each in candidate.metrics.items() if name != "out_of_domain_wer"}
    more = {} if general is None else {"out_of_domain_wer": general}
    candidate = candidate.model_copy(update={"metrics": metrics | more})
    formats = FormatScores(clips=24, test_clips=48, scores=(score,))
    comparison = comparison.model_copy(update={"models": (base, candidate), "formats": formats})
    stored = lake.put_bytes(comparison.to_json().encode())
    set_pointer(
        lake,
        "models/v2/report",
        comparison=stored,
        checkpoint=checkpoint.value["tree"],
        ctranslate2=served.value["tree"],
    )
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    draft, _ = collect_candidate(lake, gate, make_release_settings(tmp_path), tmp_path / "work")
    found, change = draft.evaluation, comparison.change("base")
    assert change is not None
    assert (found.wer, found.base_wer) == (convert(candidate.wer.interval), convert(base.wer.interval))
    assert found.relative_improvement == convert(change.relative_improvement)
    assert found.out_of_domain_wer == (None if general is None else convert(general))
    assert (found.comparison, found.snapshot) == (stored, comparison.provenance.snapshot_id)
    assert (found.conventions, found.test_set) == (comparison.provenance.conventions, comparison.test.digest)
    assert (found.test_sessions, found.test_words) == (8, comparison.test.words)
    record = TrainingRecord.model_validate(lake.get_json(checkpoint.value["record"]))
    trained = draft.training
    assert (trained.checkpoint, trained.record) == (record.tree, checkpoint.value["record"])
    assert (trained.identity, trained.recipe) == (record.identity_digest, record.recipe)
    assert (trained.snapshot, trained.hours) == (record.identity.snapshot, record.train_hours)
    assert (draft.base_model.name, draft.base_model.digest) == (record.base_model, record.identity.base_model)
    assert draft.archives[0].measured == MeasuredFormat(
        clips=24,
        profile="phone",
        engine="coreml",
        wer=MeasuredRate(low=0.05, value=0.1, high=0.15),
        points=MeasuredRate(low=-1.0, value=0.5, high=1.5),
        real_time_factor=None if is_emulated else 0.5,
        hardware=None if is_emulated else "2 × Example CPU",
    )
    assert draft.archives[1].measured is None
