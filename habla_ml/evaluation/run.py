"""Run an evaluation: decode every model on the same speech, compare, decide, write the report and publish it.

With a candidate the evidence is stored behind `models/<version>/report`, from where the release reads it and decides
again. Without one the comparison decides no release and is stored under its own digest.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import GeneralSpeech, read_general_speech
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.annotator_difference import measure_annotator_difference
from habla_ml.evaluation.comparison.compare import compare_with_error_tables
from habla_ml.evaluation.comparison.decoding import EvaluatedModel, Progress, decode_sets
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.format_scores import FormatScores, measure_formats
from habla_ml.evaluation.comparison.model_spec import parse_model_spec
from habla_ml.evaluation.comparison.models_under_test import prepare_base_model, prepare_model
from habla_ml.evaluation.comparison.parity import measure_parity
from habla_ml.evaluation.comparison.profile_scores import measure_profiles
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.rescoring import rescore_versions
from habla_ml.evaluation.comparison.sealed_result import read_sealed_result
from habla_ml.evaluation.comparison.seed_siblings import find_seed_siblings, measure_seed_spread
from habla_ml.evaluation.comparison.speed_measurement import describe_machine, measure_speed
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.comparison.test_set_reuse import measure_reuse, record_looks
from habla_ml.evaluation.comparison.test_speech import TEST, TestSpeech, exclude_sealed, load_test_speech
from habla_ml.evaluation.metrics.alignments import Alignments, read_alignments
from habla_ml.evaluation.metrics.domain_vocabulary import load_domain_vocabulary
from habla_ml.evaluation.metrics.inputs import OptionalMeasurements
from habla_ml.evaluation.metrics.non_speech import build_non_speech_set
from habla_ml.evaluation.metrics.speaker_turns import score_speaker_labels
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.promotion.advice_inputs import advise_for_version, advise_from_evidence
from habla_ml.evaluation.promotion.override import read_override
from habla_ml.evaluation.promotion.rule import Decision, decide
from habla_ml.evaluation.report import ReportContent, ReportFiles, write_report
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version
from habla_ml.scratch import make_scratch_folder
from habla_ml.settings import Settings
from habla_ml.training.plan import list_evaluated_trainings
from habla_ml.training.recipe import load_recipe


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation."""

    comparison: Comparison
    decision: Decision | None
    """None without a candidate."""
    files: ReportFiles
    comparison_object: str
    """Object id of the comparison's JSON."""
    newly_decoded: int
    """Clips that were not in the cache."""


def run_evaluation(
    lake: Lake,
    settings: Settings,
    speech: TestSpeech,
    models: Sequence[EvaluatedModel],
    progress: Progress,
    *,
    measures_speed: bool = False,
) -> Evaluation:
    """Decode, compare, decide where there is a candidate, write the report and publish it.

    Args:
        lake: Holds models, hypotheses and evidence.
        settings: How to decode, compare and decide.
        speech: The speech that every model decodes.
        models: The models; with a candidate, base, previous release and candidate.
        progress: Receives a line now and then.
        measures_speed: Whether to time the models now. With a candidate they are timed once anyway, as
            `evaluation.speed_clips` says.

    Raises:
        EvaluationError: An engine failed, or two models share a name or a role.
    """
    candidate = next((each for each in models if each.role == "candidate"), None)
    general = _read_out_of_domain(lake, settings) if candidate else GeneralSpeech()
    measurements = _collect_measurements(lake, settings, speech, general, is_release=candidate is not None)
    if candidate is not None or measures_speed:
        run = measure_speed(lake, models, speech.read, settings.evaluation, progress, is_new=measures_speed)
        measurements = replace(measurements, speed=run)
    measured = _measure_models(lake, settings, speech, models, measurements, progress)
    comparison = _add_provenance(measured.comparison, measurements, general)
    newly_decoded = measured.newly_decoded
    if candidate is not None:
        comparison = _add_candidate_measurements(
            lake, settings, speech, measurements.alignments, candidate, comparison, progress
        )
        if parent_version(candidate.name) is None:  # a replicate is compared with its version only
            comparison, more = _add_versions(lake, settings, speech, comparison, progress)
            newly_decoded += more
    decision = decide(comparison, settings.promotion) if candidate else None
    reports = settings.work_folder / ("reports" if candidate else "comparisons")
    reports.mkdir(parents=True, exist_ok=True)
    with make_scratch_folder(settings.work_folder, "report") as scratch:
        date = f"{datetime.now(settings.zone):%Y-%m-%d}"
        files = _write_report(lake, settings, speech, comparison, decision, date, measured.tables, scratch / "report")
        stored = _publish_report(lake, candidate, comparison, decision, date, files)
        folder = reports / (candidate.name if candidate else stored[:16])
        shutil.rmtree(folder, ignore_errors=True)
        files.folder.rename(folder)
    return Evaluation(comparison, decision, ReportFiles(folder), stored, newly_decoded)


def compare_models(
    specs: Sequence[str],
    on: str,
    lake: Lake,
    settings: Settings,
    progress: Progress,
    *,
    measures_speed: bool = False,
) -> tuple[TestSpeech, Evaluation]:
    """Compare any models on the same speech, each with each; this decides no release.

    Args:
        specs: Two or more model specs, see `habla_ml.evaluation.comparison.model_spec`.
        on: `test`, a day, or the path of a table, see `habla_ml.evaluation.comparison.test_speech`.
        lake: Holds models, snapshot and hypotheses.
        settings: How to decode and compare.
        progress: Receives a line now and then.
        measures_speed: Whether to time the models too.

    Raises:
        EvaluationError: There are fewer than two specs, a spec is unknown, or there is no speech.
    """
    if len(specs) < 2:
        raise EvaluationError(f"a comparison needs at least two models, got {len(specs)}; e.g. base and v2")
    speech = load_test_speech(on, lake, settings)
    parsed = [parse_model_spec(each, settings) for each in specs]
    models = [
        prepare_model(each, "compared" if at else "base", lake, settings, progress) for at, each in enumerate(parsed)
    ]
    return speech, run_evaluation(lake, settings, speech, models, progress, measures_speed=measures_speed)


def advise_now(lake: Lake, settings: Settings, progress: Progress) -> Advice:
    """Return whether to train now; decode the test set with the base model only where no version was evaluated.

    Raises:
        EvaluationError: The newest version's evidence cannot be read, or the base model cannot be decoded.
        TrainingError: The base model cannot be loaded.
    """
    evidence = None if list_evaluated_trainings(lake) else _compare_base_alone(lake, settings, progress)
    return advise_from_evidence(lake, settings, evidence)


def _compare_base_alone(lake: Lake, settings: Settings, progress: Progress) -> Comparison | None:
    """Measure the base model on the newest test set; return None where there is none."""
    if lake.read_pointer(catalogue.SPLITS) is None or not load_latest_snapshot(lake).counts.get("test"):
        return None
    speech = load_test_speech(TEST, lake, settings)
    base = prepare_base_model(lake, load_recipe(settings.training.recipe), settings, progress)
    measurements = OptionalMeasurements(vocabulary=load_domain_vocabulary(lake, speech.snapshot, settings.evaluation))
    return _measure_models(lake, settings, speech, [base], measurements, progress).comparison


@dataclass(frozen=True)
class _MeasuredModels:
    comparison: Comparison
    tables: ErrorTables
    newly_decoded: int


def _measure_models(
    lake: Lake,
    settings: Settings,
    speech: TestSpeech,
    models: Sequence[EvaluatedModel],
    measurements: OptionalMeasurements,
    progress: Progress,
) -> _MeasuredModels:
    decoded = [decode_sets(lake, each, speech.read, measurements, settings, progress) for each in models]
    comparison, tables = compare_with_error_tables(
        speech.read(), decoded, settings.evaluation, speech.provenance, measurements
    )
    return _MeasuredModels(comparison, tables, sum(each.newly_decoded for each in decoded))


def _read_out_of_domain(lake: Lake, settings: Settings) -> GeneralSpeech:
    found = read_general_speech(
        settings.evaluation.out_of_domain,
        load_conventions(settings.corpus.conventions),
        settings.recordings.longest_segment_s,
        settings.work_folder,
        read_tombstones(lake).sounds,
    )
    return replace(found, utterances=exclude_sealed(lake, found.utterances))


def _collect_measurements(
    lake: Lake, settings: Settings, speech: TestSpeech, general: GeneralSpeech, is_release: bool
) -> OptionalMeasurements:
    evaluation = settings.evaluation
    alignments = evaluation.alignments if is_release else None
    return OptionalMeasurements(
        out_of_domain=general.utterances,
        non_speech=build_non_speech_set(evaluation, speech.read_non_speech_clips()),
        vocabulary=load_domain_vocabulary(lake, speech.snapshot, evaluation),
        alignments=None if alignments is None else read_alignments(alignments),
    )


def _add_provenance(comparison: Comparison, measurements: OptionalMeasurements, general: GeneralSpeech) -> Comparison:
    non_speech = measurements.non_speech
    provenance = comparison.provenance.model_copy(
        update={
            "hardware": describe_machine().to_sentence(),
            "out_of_domain": general.sources,
            "non_speech_problems": non_speech.problems if non_speech else (),
        }
    )
    return comparison.model_copy(update={"provenance": provenance})


def _add_candidate_measurements(
    lake: Lake,
    settings: Settings,
    speech: TestSpeech,
    alignments: Alignments | None,
    candidate: EvaluatedModel,
    comparison: Comparison,
    progress: Progress,
) -> Comparison:
    """Add what is measured of the candidate alone: parity, profiles, formats, seeds, and Habla's own speaker labels."""
    evaluation, snapshot = settings.evaluation, speech.snapshot
    siblings = find_seed_siblings(lake, candidate.name, settings.work_folder)
    diarisation = None
    if evaluation.speaker_turns is not None and snapshot is not None:
        diarisation = score_speaker_labels(
            lake,
            snapshot,
            evaluation.speaker_turns,
            settings.zone,
            evaluation.bootstrap_draws,
            evaluation.seed,
        )
    return comparison.model_copy(
        update={
            "annotators": measure_annotator_difference(
                lake, load_conventions(settings.corpus.conventions), settings.evaluation
            ),
            "parity": measure_parity(lake, candidate, speech.read(), settings, progress),
            "profiles": measure_profiles(lake, candidate, speech.read, settings, progress, alignments),
            "formats": _measure_formats(lake, settings, speech, candidate, progress),
            "seeds": measure_seed_spread(lake, siblings, comparison, progress),
            "diarisation": diarisation,
        }
    )


def _measure_formats(
    lake: Lake, settings: Settings, speech: TestSpeech, candidate: EvaluatedModel, progress: Progress
) -> FormatScores | None:
    """Measure the exports, with the clips and speed of the last report where nothing else changed."""
    if parent_version(candidate.name) is not None:  # a replicate is never released
        return None
    earlier: FormatScores | None = None
    if lake.read_pointer(catalogue.REPORT.name(candidate.name)) is not None:
        with suppress(EvaluationError):  # evidence of another format is measured again
            earlier = read_stored_comparison(lake, candidate.name).formats
    return measure_formats(lake, candidate, speech.read, settings, earlier, progress)


def _add_versions(
    lake: Lake, settings: Settings, speech: TestSpeech, comparison: Comparison, progress: Progress
) -> tuple[Comparison, int]:
    """Add all other versions on this test set and the looks at it; return also the number of clips decoded for it."""
    compared = {each.name for each in comparison.models}
    rescored = rescore_versions(lake, settings, speech, compared, progress)
    comparison = comparison.model_copy(update={"versions": rescored.scores})
    reuse = measure_reuse(comparison, record_looks(lake, comparison))
    return comparison.model_copy(update={"reuse": reuse}), rescored.newly_decoded


def _write_report(
    lake: Lake,
    settings: Settings,
    speech: TestSpeech,
    comparison: Comparison,
    decision: Decision | None,
    date: str,
    tables: ErrorTables,
    folder: Path,
) -> ReportFiles:
    candidate, override, advice, sealed = comparison.model("candidate"), None, None, None
    if candidate is not None and decision is not None:
        override = read_override(lake, candidate.name, decision.evidence)
        sealed = read_sealed_result(lake, candidate.name)
        if parent_version(candidate.name) is None:  # a replicate gives no new information about hours
            advice = advise_for_version(lake, settings, candidate.name, comparison)
    content = ReportContent(
        comparison,
        decision,
        date,
        override.to_sentence() if override else None,
        settings.evaluation.acceptable,
        advice,
        profile_option=settings.profile_option,
        sealed=sealed,
        warning=speech.warning,
    )
    return write_report(content, speech.read(), folder, tables)


def _publish_report(
    lake: Lake,
    candidate: EvaluatedModel | None,
    comparison: Comparison,
    decision: Decision | None,
    date: str,
    files: ReportFiles,
) -> str:
    """Store the files, move the pointer to them, and return the object id of the comparison."""
    stored = lake.put_file(files.json)
    value: dict[str, Any] = {
        "comparison": stored,
        "html": lake.put_file(files.html),
        "markdown": lake.put_file(files.markdown),
        "utterances": lake.put_file(files.utterances),
        "word_errors": lake.put_file(files.word_errors),
        "snapshot": comparison.provenance.snapshot_id,
        "date": date,
    }
    name = catalogue.COMPARISON.name(stored[:16])
    if candidate is not None and decision is not None:
        name = catalogue.REPORT.name(candidate.name)
        checkpoint = lake.read_pointer(catalogue.CHECKPOINT.name(candidate.name))
        value |= {
            "verdict": decision.verdict,
            SERVED.name: candidate.artefact,
            "checkpoint": None if checkpoint is None else checkpoint.value["tree"],
        }
    lake.move_pointer(name, value, lake.read_pointer(name))
    return stored
