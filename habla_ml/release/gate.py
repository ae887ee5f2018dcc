"""Whether a model version may be released: decided again from stored evidence, never read off a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.release.override import Override, read_override


@dataclass(frozen=True)
class GateResult:
    """The decision, and exactly which artefacts it is about."""

    version: str
    is_allowed: bool
    reasons: tuple[str, ...]
    """Sentences for a person; what forbids the release comes first."""
    comparison: Comparison
    comparison_object: str
    """Object id of the evidence."""
    checkpoint: Pointer
    ctranslate2: Pointer
    coreml: Pointer | None
    override: Override | None = None
    """The person's decision that lets it pass where the rule does not."""


def check_gate(lake: Lake, version: str, decide: Callable[[Comparison], Decision]) -> GateResult:
    """Judge `version` by the evidence behind its report and by what it consists of now.

    A refused candidate is a result, not an error: the rule says no and nobody signed an override of this evidence, or
    the report is about other artefacts than the present ones, which nobody can override.

    Args:
        lake: Holds the pointers `models/<version>/report`, `checkpoint`, `ctranslate2` and perhaps `coreml`.
        version: The model version.
        decide: The promotion rule.

    Raises:
        ReleaseError: The version was never evaluated, or has no checkpoint or CTranslate2 model.
    """
    report = lake.read_pointer(catalogue.REPORT.name(version))
    if report is None:
        raise ReleaseError(
            f"model version {version} was never evaluated, so it is not released; materialise `wer_report` for it"
        )
    checkpoint = _require_artefact(lake, version, "checkpoint", "fine_tuned_checkpoint")
    ctranslate2 = _require_artefact(lake, version, "ctranslate2", "ctranslate2_model")
    coreml = lake.read_pointer(catalogue.EXPORT.name(version, "coreml"))
    stored = str(report.value["comparison"])
    comparison = read_comparison(lake.get_bytes(stored))
    stale = _find_stale_evidence(report, comparison, checkpoint, ctranslate2, coreml)
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
        ctranslate2=ctranslate2,
        coreml=coreml,
        override=override,
    )


def _require_artefact(lake: Lake, version: str, artefact: str, asset: str) -> Pointer:
    pointer = lake.read_pointer(catalogue.EXPORT.name(version, artefact))
    if pointer is None:
        raise ReleaseError(f"model version {version} has no {artefact} to release; materialise `{asset}` for it")
    return pointer


def _find_stale_evidence(
    report: Pointer, comparison: Comparison, checkpoint: Pointer, ctranslate2: Pointer, coreml: Pointer | None
) -> list[str]:
    """What in the evidence is not about the present artefacts, as sentences."""
    trained, served = checkpoint.value["tree"], ctranslate2.value["tree"]
    candidate = comparison.model("candidate")
    links = [
        ("The report is about another checkpoint", report.value.get("checkpoint"), trained, "wer_report"),
        ("The report is about another CTranslate2 model", report.value.get("ctranslate2"), served, "wer_report"),
        ("The evidence measured another model", candidate and candidate.artefact_digest, served, "wer_report"),
        (
            "The CTranslate2 model is of another checkpoint",
            ctranslate2.value.get("checkpoint"),
            trained,
            "ctranslate2_model",
        ),
    ]
    if coreml is not None:
        links.append(
            ("The Core ML archive is of another checkpoint", coreml.value.get("checkpoint"), trained, "coreml_zip")
        )
    return [
        f"{fault} ({_shorten_digest(found)}) than the present one ({_shorten_digest(present)}); materialise `{asset}` again."
        for fault, found, present, asset in links
        if found != present
    ]


def _shorten_digest(digest: object) -> str:
    return str(digest)[:12] if digest else "none"
