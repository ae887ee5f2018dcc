"""Whether stored evidence describes the present: artefacts, test set, conventions, scorer, and the release to beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.test_set_digest import read_test_set_digest
from habla_ml.evaluation.promotion.rule import explain_other_method
from habla_ml.export.exporter import PublishedExport
from habla_ml.export.publish import read_export
from habla_ml.export.registry import EXPORTERS, SERVED
from habla_ml.lake import Lake, Pointer, Store, catalogue
from habla_ml.release.channel import read_channel
from habla_ml.settings import Settings
from habla_ml.transcription.options import EngineOptions
from habla_ml.transcription.serving_profiles import build_served_options


@dataclass(frozen=True)
class PresentState:
    """What evidence about a version must describe to count."""

    test_set: str | None
    """Digest of the test set of the newest snapshot; None without a snapshot."""
    conventions: str
    """Digest of the configured conventions."""
    decoding: EngineOptions
    """Options of the serving profile that decides."""
    release: str | None
    """The version to beat (`Channel.find_release_to_beat`); None before the first release."""
    release_artefact: str | None
    """Digest of the served model of that version in the lake."""


def read_present_state(lake: Lake, store: Store, settings: Settings, version: str) -> PresentState:
    """Read what evidence about `version` must describe now."""
    has_snapshot = lake.read_pointer(catalogue.SPLITS) is not None
    release = read_channel(store, settings.release.channel).find_release_to_beat(version)
    served = None if release is None else read_export(lake, release, SERVED)
    return PresentState(
        test_set=read_test_set_digest(lake, load_latest_snapshot(lake)) if has_snapshot else None,
        conventions=load_conventions(settings.corpus.conventions).digest,
        decoding=build_served_options(settings.evaluation),
        release=release,
        release_artefact=None if served is None else served.artefact,
    )


def find_other_circumstances(comparison: Comparison, present: PresentState) -> Iterator[str]:
    """Yield one sentence per difference between the circumstances of the evidence and the present ones."""
    again = "Materialise `wer_report` again; it decodes only what is new."
    if comparison.test.digest != present.test_set:
        yield (
            f"The evidence is about another test set ({_shorten(comparison.test.digest)}) than that of the newest snapshot "
            f"({_shorten(present.test_set)}). {again}"
        )
    if comparison.provenance.conventions_digest != present.conventions:
        yield (
            f"The evidence follows other conventions ({_shorten(comparison.provenance.conventions_digest)}) than the "
            f"configured ones ({_shorten(present.conventions)}). Materialise `annotated_corpus` of the stale days, "
            "`splits` and `wer_report` again."
        )
    candidate = comparison.model("candidate")
    if candidate is not None and candidate.decoding != present.decoding:
        yield f"The evidence was decoded with other options than those of evaluation.serving_profile. {again}"
    if (other_method := explain_other_method(comparison)) is not None:
        yield other_method
    previous = comparison.model("previous")
    compared = None if previous is None else previous.name
    if compared != present.release:
        yield (
            f"The evidence compares with {compared or 'no release'}, but {present.release or 'no release'} is to be "
            f"replaced now. {again}"
        )
    elif previous is not None and previous.artefact_digest != present.release_artefact:
        yield (
            f"The evidence compares with other files of {previous.name} ({_shorten(previous.artefact_digest)}) than the "
            f"present ones ({_shorten(present.release_artefact)}). {again}"
        )


def find_other_artefacts(
    report: Pointer, comparison: Comparison, checkpoint: Pointer, exports: Mapping[str, PublishedExport]
) -> Iterator[str]:
    """Yield one sentence per difference between the artefacts of the evidence and the present ones."""
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
            yield f"{fault} ({_shorten(found)}) than the present one ({_shorten(present)}); materialise `{asset}` again."


def _shorten(digest: object) -> str:
    return str(digest or "none")[:12]
