"""Collect what `publish_release` needs: the draft of the manifest and the files of a model version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.metrics.error_rates import OUT_OF_DOMAIN_WER
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.export.publish import checkout_artefact
from habla_ml.export.registry import EXPORTERS
from habla_ml.lake import Lake
from habla_ml.release.gate import GateResult
from habla_ml.release.manifest import (
    ArchiveMetadata,
    EvaluationMetadata,
    MeasuredFormat,
    MeasuredRate,
    ModelReference,
    OverrideMetadata,
    ReleaseDraft,
    TrainingMetadata,
)
from habla_ml.settings import ReleaseSettings
from habla_ml.training.record import TrainingRecord


def collect_candidate(
    lake: Lake, gate: GateResult, settings: ReleaseSettings, work_folder: Path
) -> tuple[ReleaseDraft, Mapping[str, Path]]:
    """Return the draft of exactly the artefacts that `gate` checked, and a zip or a folder to zip by label.

    Raises:
        ReleaseError: The gate does not allow the release.
    """
    if not gate.is_allowed:
        raise ReleaseError(f"{gate.version} may not be released: {' '.join(gate.reasons)}")
    archives, files = _collect_archives(lake, gate, work_folder)
    signed = gate.override
    record_object = gate.checkpoint.value["record"]
    record = TrainingRecord.model_validate(lake.get_json(record_object))
    draft = ReleaseDraft(
        model_id=settings.model_id,
        model_version=gate.version,
        base_model=ModelReference(
            name=record.base_model, revision=record.base_model_revision, digest=record.identity.base_model
        ),
        training=TrainingMetadata(
            checkpoint=record.tree,
            record=record_object,
            identity=record.identity_digest,
            recipe=record.recipe,
            snapshot=record.identity.snapshot,
            hours=record.train_hours,
            code=record.code,
        ),
        evaluation=_describe_evaluation(gate),
        override=OverrideMetadata(**signed.model_dump(include={"signed_by", "reason", "signed_at"}))
        if signed
        else None,
        archives=archives,
        licence=settings.licence,
    )
    return draft, files


def _collect_archives(
    lake: Lake, gate: GateResult, work_folder: Path
) -> tuple[tuple[ArchiveMetadata, ...], dict[str, Path]]:
    """Return the metadata of each export that is released, and its local file or folder by label."""
    archives, files = [], {}
    for exporter in EXPORTERS:
        name, export = exporter.name, gate.exports.get(exporter.name)
        if export is None or exporter.describe_archive is None:
            continue
        form, artefact = asdict(exporter.describe_archive(export)), export.artefact
        form["measured"] = _find_measurement(gate.comparison, name, artefact)
        archives.append(ArchiveMetadata(label=name, quantisation=export.quantisation, artefact=artefact, **form))
        is_tree = exporter.stored_as == "tree"
        files[name] = checkout_artefact(lake, artefact, work_folder) if is_tree else lake.fetch_path(artefact)
    return tuple(archives), files


def _find_measurement(comparison: Comparison, name: str, artefact: str) -> MeasuredFormat | None:
    """Return what was measured with exactly this artefact; the speed of an interpreter is none of a device."""
    scores = comparison.formats.scores if comparison.formats else ()
    found = next((each for each in scores if (each.format, each.artefact) == (name, artefact)), None)
    if found is None or found.points is None or found.wer.interval is None:
        return None
    is_timed = found.real_time_factor is not None and not found.is_emulated
    return MeasuredFormat(
        clips=found.clips,
        profile=found.profile,
        engine=found.decoding.engine,
        wer=_convert_interval(found.wer.interval),
        points=_convert_interval(found.points),
        real_time_factor=found.real_time_factor if is_timed else None,
        hardware=found.hardware if is_timed else None,
    )


def _describe_evaluation(gate: GateResult) -> EvaluationMetadata:
    comparison = gate.comparison
    candidate, base, change = comparison.model("candidate"), comparison.model("base"), comparison.change("base")
    if candidate is None or base is None or change is None or change.relative_improvement is None:
        raise ReleaseError(f"the evidence of {gate.version} has no candidate or no base; evaluate it again")
    general = candidate.metrics.get(OUT_OF_DOMAIN_WER.name)
    return EvaluationMetadata(
        comparison=gate.comparison_object,
        snapshot=comparison.provenance.snapshot_id,
        conventions=comparison.provenance.conventions,
        test_set=comparison.test.digest,
        test_sessions=comparison.test.sessions,
        test_words=comparison.test.words,
        wer=_convert_interval(candidate.wer.interval),
        base_wer=_convert_interval(base.wer.interval),
        relative_improvement=_convert_interval(change.relative_improvement),
        out_of_domain_wer=_convert_interval(general) if general else None,
    )


def _convert_interval(interval: Interval | None) -> MeasuredRate:
    if interval is None:
        raise ReleaseError("the evidence has an error rate over no words; evaluate the model version again")
    return MeasuredRate(**asdict(interval))
