"""The gate: decide again from stored evidence whether a model version may be released."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.promotion.override import Override, read_override
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.export.exporter import PublishedExport
from habla_ml.export.publish import read_export
from habla_ml.export.registry import EXPORTERS, SERVED
from habla_ml.lake import Lake, Pointer, catalogue


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
    """What a release contains, by name of the exporter, in the order of the registry."""
    override: Override | None
    """Decision of a person that replaces a refusal of the rule."""


def check_gate(lake: Lake, version: str, decide: Callable[[Comparison], Decision]) -> GateResult:
    """Apply the rule to the stored evidence of `version`, and check that it describes the present artefacts.

    A refusal is a result, not an error. It has one of two causes: the rule `decide` refuses and there is no override of
    this evidence, or the report describes other artefacts, which no override can accept.

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
    stale = list(_find_stale_evidence(report, comparison, checkpoint, exports))
    decision = decide(comparison)
    override = None if decision.verdict == "deploy" else read_override(lake, version, decision.evidence)
    signed = () if override is None else (override.to_sentence(),)
    return GateResult(
        version=version,
        is_allowed=not stale and (decision.verdict == "deploy" or override is not None),
        reasons=(*stale, *signed, *decision.reasons),
        comparison=comparison,
        comparison_object=stored,
        checkpoint=checkpoint,
        exports=exports,
        override=override,
    )


def _build_missing_error(version: str, artefact: str, asset: str) -> ReleaseError:
    return ReleaseError(f"model version {version} has no {artefact} to release; materialise `{asset}` for it")


def _find_stale_evidence(
    report: Pointer, comparison: Comparison, checkpoint: Pointer, exports: Mapping[str, PublishedExport]
) -> Iterator[str]:
    """Yield one sentence per difference between the evidence and the present artefacts."""
    trained, served = checkpoint.value["tree"], exports[SERVED.name].artefact
    candidate = comparison.model("candidate")
    links = [
        ("The report is about another checkpoint", report.value.get("checkpoint"), trained, "wer_report"),
        (f"The report is about another {SERVED.title}", report.value.get(SERVED.name), served, "wer_report"),
        ("The evidence measured another model", candidate and candidate.artefact_digest, served, "wer_report"),
    ]
    links += [
        (f"The {each.title} is of another checkpoint", exports[each.name].checkpoint, trained, each.asset_name)
        for each in EXPORTERS
        if each.name in exports
    ]
    for fault, found, present, asset in links:
        if found != present:
            short = [str(digest or "none")[:12] for digest in (found, present)]
            yield f"{fault} ({short[0]}) than the present one ({short[1]}); materialise `{asset}` again."
