"""From a judged model version to what `publish_release` wants: the draft of its manifest and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison import Rate
from habla_ml.evaluation.statistics import Interval
from habla_ml.export.coreml.contract import MINIMUM_IOS, SPECIFICATION_VERSION
from habla_ml.export.publish import checkout_artefact
from habla_ml.lake import Lake, Pointer
from habla_ml.release.gate import GateResult
from habla_ml.release.manifest import (
    ArchiveFacts,
    EvaluationFacts,
    Measured,
    ModelReference,
    OverrideFacts,
    ReleaseDraft,
    TrainingFacts,
)
from habla_ml.release.override import Override
from habla_ml.settings import ReleaseSettings
from habla_ml.training.record import TrainingRecord


@dataclass(frozen=True)
class Candidate:
    """What is to be published."""

    draft: ReleaseDraft
    files: Mapping[str, Path]
    """Label → a zip, or a folder that is to become one."""


def collect_candidate(lake: Lake, gate: GateResult, settings: ReleaseSettings, work_folder: Path) -> Candidate:
    """The draft and the files of exactly the artefacts that `gate` judged; the phone's archive comes first.

    Raises `ReleaseError` where the gate is shut.
    """
    if not gate.allowed:
        raise ReleaseError(f"{gate.version} may not be released: {' '.join(gate.reasons)}")
    served, phone = gate.ctranslate2.value, gate.coreml
    archives = [
        ArchiveFacts(
            label="ctranslate2",
            format="ctranslate2",
            quantisation=served["quantisation"],
            artefact=served["tree"],
        )
    ]
    files = {"ctranslate2": checkout_artefact(lake, served["tree"], work_folder)}
    if phone is not None:
        archives.insert(0, _phone_archive(phone))
        files["coreml"] = lake.path_of(phone.value["archive"])
    record_object = gate.checkpoint.value["record"]
    record = TrainingRecord.model_validate(lake.get_json(record_object))
    draft = ReleaseDraft(
        model_id=settings.model_id,
        model_version=gate.version,
        base_model=ModelReference(
            name=record.base_model, revision=record.base_model_revision, digest=record.identity.base_model
        ),
        training=TrainingFacts(
            checkpoint=record.tree,
            record=record_object,
            identity=record.identity_digest,
            recipe=record.recipe,
            snapshot=record.identity.snapshot,
            hours=record.train_hours,
        ),
        evaluation=_evaluation(gate),
        override=_override(gate.override),
        archives=tuple(archives),
        licence=settings.licence,
    )
    return Candidate(draft, files)


def _phone_archive(pointer: Pointer) -> ArchiveFacts:
    return ArchiveFacts(
        label="coreml",
        format=pointer.value["model_format"],
        quantisation="float16",
        artefact=pointer.value["archive"],
        specification_version=SPECIFICATION_VERSION,
        minimum_ios=f"{MINIMUM_IOS}.0",
    )


def _override(override: Override | None) -> OverrideFacts | None:
    if override is None:
        return None
    return OverrideFacts(signed_by=override.signed_by, reason=override.reason, signed_at=override.signed_at)


def _evaluation(gate: GateResult) -> EvaluationFacts:
    comparison = gate.comparison
    candidate, base, change = comparison.model("candidate"), comparison.model("base"), comparison.change("base")
    if candidate is None or base is None or change is None or change.relative_improvement is None:
        raise ReleaseError(f"the evidence of {gate.version} lacks the candidate or the base; evaluate it again")
    general = candidate.out_of_domain_wer
    return EvaluationFacts(
        comparison=gate.comparison_object,
        snapshot=comparison.provenance.snapshot_id,
        conventions=comparison.provenance.conventions,
        test_set=comparison.test.digest,
        test_sessions=comparison.test.sessions,
        test_words=comparison.test.words,
        wer=_rate(candidate.wer),
        base_wer=_rate(base.wer),
        relative_improvement=_measured(change.relative_improvement),
        out_of_domain_wer=None if general is None else _rate(general),
    )


def _rate(rate: Rate) -> Measured:
    if rate.interval is None:
        raise ReleaseError("the evidence holds a rate over no words; evaluate the model version again")
    return _measured(rate.interval)


def _measured(interval: Interval) -> Measured:
    return Measured(value=interval.value, low=interval.low, high=interval.high)
