"""Score the earlier and later versions again on the test set of an evaluation.

A figure of an older, smaller test set cannot be compared with one of the present set. Hypotheses come from the cache;
only segments that are new to a version are decoded, with the artefact that it is served with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields

from habla_ml.corpus.snapshot import TranscribedSegment
from habla_ml.errors import EvaluationError, ExportError, LakeError
from habla_ml.evaluation.comparison.decoding import Progress, make_progress_callback
from habla_ml.evaluation.comparison.test_speech import TestSpeech
from habla_ml.evaluation.comparison.version_scores import VersionScore
from habla_ml.evaluation.metrics.inputs import DecodedModel, Reference, ScoredSpeech, score_models
from habla_ml.evaluation.scoring.alignment import ErrorCounts, sum_counts
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.statistics import to_interval
from habla_ml.export.publish import checkout_artefact, read_export
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version, version_number
from habla_ml.names import choose_spellings
from habla_ml.settings import EvaluationSettings, Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import read_hypotheses, transcribe_cached
from habla_ml.transcription.open import open_bulk_transcriber
from habla_ml.transcription.serving_profiles import build_served_options


@dataclass(frozen=True)
class RescoredVersions:
    """The scores, and what they cost."""

    scores: tuple[VersionScore, ...] = ()
    newly_decoded: int = 0
    """Clips that were not in the cache."""


def list_versions_to_rescore(lake: Lake, settings: EvaluationSettings, without: Collection[str]) -> list[str]:
    """Return the evaluated versions that `evaluation.rescored_versions` names, oldest first, without replicates."""
    evaluated = [each for each in catalogue.REPORT.keys(lake) if parent_version(each) is None and each not in without]
    chosen = settings.rescored_versions
    return sorted((each for each in evaluated if chosen == "all" or each in chosen), key=version_number)


def rescore_versions(
    lake: Lake, settings: Settings, speech: TestSpeech, without: Collection[str], progress: Progress
) -> RescoredVersions:
    """Return the score of each version on the speech.

    A version whose served artefact is no longer in the lake, or cannot be opened, is logged and left out.

    Args:
        lake: Holds artefacts and hypotheses.
        settings: Which versions, and how to decode and score.
        speech: The test set.
        without: Versions that are scored already.
        progress: Receives a line for each version that decodes or is left out.
    """
    versions = list_versions_to_rescore(lake, settings.evaluation, without)
    if not versions:
        return RescoredVersions()
    names = [each.name for each in fields(TranscribedSegment)]
    references = [Reference(**{name: getattr(each, name) for name in names}) for each in speech.read()]
    sounds = {each.audio_sha256 for each in references}
    decoded, newly_decoded = [], 0
    for at, version in enumerate(versions, 1):
        try:
            found = _decode_version(lake, settings, speech, version, sounds, _prefix(progress, at, len(versions)))
        except (
            EvaluationError,
            ExportError,
            LakeError,
        ) as error:  # an old version must not stop the report of a new one
            progress(f"{version} is not scored again: {error}")
            continue
        if found is None:
            progress(f"{version} is not scored again: it has no {SERVED.title} in the lake")
            continue
        model, fresh = found
        decoded.append(model)
        newly_decoded += fresh
    return RescoredVersions(_score(references, decoded, settings.evaluation), newly_decoded)


def _decode_version(
    lake: Lake, settings: Settings, speech: TestSpeech, version: str, sounds: Collection[str], progress: Progress
) -> tuple[DecodedModel, int] | None:
    """Return the version with its hypotheses of the speech and the number of clips decoded now; None without a model."""
    export = read_export(lake, version, SERVED)
    if export is None:
        return None
    options = build_served_options(settings.evaluation)
    known = read_hypotheses(lake, export.artefact, options)
    missing = set(sounds) - known.keys()
    if missing:
        progress(f"{version}: {len(missing)} of {len(sounds)} test clips are new to it and are decoded")
        folder = checkout_artefact(lake, export.artefact, settings.work_folder)
        clips = (each for each in speech.read() if each.audio_sha256 in missing)
        with closing(open_bulk_transcriber(options, folder, settings)) as transcriber:
            log = make_progress_callback(version, progress)
            fresh = transcribe_cached(lake, export.artefact, transcriber, clips, progress=log)
        known.update((each.audio_sha256, each) for each in fresh)
    hypotheses: list[Hypothesis] = [known[each] for each in sorted(sounds)]
    return DecodedModel(version, "compared", export.artefact, options, hypotheses), len(missing)


def _prefix(progress: Progress, at: int, number: int) -> Progress:
    return lambda line: progress(f"version {at} of {number}, {line}")


def _score(
    references: Sequence[Reference], models: Sequence[DecodedModel], settings: EvaluationSettings
) -> tuple[VersionScore, ...]:
    if not models:
        return ()
    speech = score_models(references, [(each, each.hypotheses) for each in models], settings.unit, settings)
    (resample,) = speech.draws.resample([stack_counts([each.words for each in speech.models])])
    units = _list_units(speech, settings)
    return tuple(
        VersionScore(
            name=model.name,
            artefact_digest=model.artefact_digest,
            interval=to_interval(resample.rate(at)),
            counts=_sum_by_unit(units, speech.models[at].words),
        )
        for at, model in enumerate(models)
    )


def _list_units(speech: ScoredSpeech, settings: EvaluationSettings) -> list[str]:
    """Return the unit of each utterance, with the spelling that the slices of a comparison have."""
    shown = choose_spellings(name for each in speech.references for name in (each.speaker_key, each.session_id))
    by_speaker = settings.unit == "speaker"
    return [shown[each.speaker_key if by_speaker else each.session_id] for each in speech.references]


def _sum_by_unit(units: Iterable[str], counts: Iterable[ErrorCounts]) -> dict[str, ErrorCounts]:
    by_unit: dict[str, list[ErrorCounts]] = {}
    for unit, each in zip(units, counts, strict=True):
        by_unit.setdefault(unit, []).append(each)
    return {unit: sum_counts(each) for unit, each in sorted(by_unit.items())}
