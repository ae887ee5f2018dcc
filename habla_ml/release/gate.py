"""The gate: decide again from stored evidence whether a model version may be released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.comparison.sealed_result import SealedResult, read_sealed_result
from habla_ml.evaluation.promotion.override import Override, read_override
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.evaluation.promotion.sealed_check import judge_sealed
from habla_ml.export.exporter import PublishedExport
from habla_ml.export.publish import read_export
from habla_ml.export.registry import EXPORTERS, SERVED
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.release.stale_evidence import PresentState, find_other_artefacts, find_other_circumstances


@dataclass(frozen=True)
class GateResult:
    """The decision and the artefacts that it applies to."""

    version: str
    is_allowed: bool
    reasons: tuple[str, ...]
    """Sentences for a person; those that forbid the release are first."""
    comparison: Comparison
    comparison_object: str
    """Object id of the evidence."""
    checkpoint: Pointer
    exports: Mapping[str, PublishedExport]
    """What a release contains, by name of the exporter, in the order of the registry; without withheld formats."""
    override: Override | None
    """Decision of a person that replaces a refusal of the rule."""
    sealed: SealedResult | None = None
    """Stored result on the sealed sessions; None where they were not decoded for this version."""


def check_gate(lake: Lake, version: str, decide: Callable[[Comparison], Decision], present: PresentState) -> GateResult:
    """Apply the rule to the stored evidence of `version`, and check that it describes the present.

    A refusal is a result, not an error. It has one of three causes:

    - The rule `decide` refuses, and there is no override of this evidence.
    - On the sealed sessions the version is significantly worse than the base or the release, and there is no override
      that names this.
    - The evidence is about other artefacts, another test set, other conventions, another scorer or another release than
      the present ones (`read_present_state`), which no override can accept.

    Raises:
        ReleaseError: The version was never evaluated, or has no checkpoint or CTranslate2 model.
    """
    report = lake.read_pointer(catalogue.REPORT.name(version))
    if report is None:
        raise ReleaseError(
            f"model version {version} was never evaluated and cannot be released; materialise `wer_report` for it"
        )
    checkpoint = lake.read_pointer(catalogue.CHECKPOINT.name(version))
    if checkpoint is None:
        raise _build_missing_error(version, "checkpoint", "fine_tuned_checkpoint")
    offered = [each for each in EXPORTERS if each.describe_archive is not None]
    found = {each.name: read_export(lake, version, each) for each in offered}
    exports = {name: export for name, export in found.items() if export is not None}
    if SERVED.name not in exports:
        raise _build_missing_error(version, SERVED.title, SERVED.asset_name)
    stored = str(report.value["comparison"])
    comparison = read_comparison(lake.get_bytes(stored))
    stale = [
        *find_other_artefacts(report, comparison, checkpoint, exports),
        *find_other_circumstances(comparison, present),
    ]
    decision = decide(comparison)
    withheld = {(each.format, each.artefact) for each in decision.withheld}
    sealed = read_sealed_result(lake, version)
    judgement = judge_sealed(sealed, comparison)
    is_refused = decision.verdict != "deploy" or bool(judgement.objections)
    override = read_override(lake, version, decision.evidence) if is_refused else None
    if override is not None and not set(judgement.objections) <= set(override.against):
        override = None  # the person did not know the result on the sealed sessions
    signed = () if override is None else (override.to_sentence(),)
    return GateResult(
        version=version,
        is_allowed=not stale and (not is_refused or override is not None),
        reasons=tuple(
            dict.fromkeys(
                (*stale, *signed, *judgement.objections, *judgement.warnings, *decision.reasons, *judgement.notes)
            )
        ),
        comparison=comparison,
        comparison_object=stored,
        checkpoint=checkpoint,
        exports={name: each for name, each in exports.items() if (name, each.artefact) not in withheld},
        override=override,
        sealed=sealed,
    )


def _build_missing_error(version: str, artefact: str, asset: str) -> ReleaseError:
    return ReleaseError(f"model version {version} has no {artefact} to release; materialise `{asset}` for it")
