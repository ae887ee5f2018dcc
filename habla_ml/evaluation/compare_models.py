"""A comparison for no release: everybody on the same sets, paired, with a report and the evidence in the lake."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.compare import OptionalMeasurements, compare_with_error_tables
from habla_ml.evaluation.comparison.decoding import EvaluationSets, decode_sets
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.model_spec import parse_model_spec, prepare_model
from habla_ml.evaluation.comparison.records import Comparison, Provenance
from habla_ml.evaluation.comparison.test_speech import TestSpeech, load_test_speech
from habla_ml.evaluation.metrics.domain_vocabulary import DomainVocabulary, read_terms
from habla_ml.evaluation.metrics.non_speech import build_non_speech_set
from habla_ml.evaluation.report import ReportFiles, write_report
from habla_ml.evaluation.run import to_decoded_model
from habla_ml.lake import Lake, catalogue
from habla_ml.settings import Settings

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ModelComparison:
    """What came out."""

    comparison: Comparison
    test_speech: TestSpeech
    files: ReportFiles
    evidence: str
    """Object id of the comparison in the lake; the pointer `contests/<its first digits>` names it."""
    decoded: int
    """Clips that no cache held."""


def compare_models(
    specs: Sequence[str],
    on: str,
    lake: Lake,
    settings: Settings,
    date: str,
    progress: Progress,
    hardware: str | None = None,
) -> ModelComparison:
    """Let every entrant hear the same speech and score them side by side, each against each.

    Hypotheses are cached, so a second contest with one entrant more decodes only for that one.

    Args:
        specs: As a person types them, see `habla_ml.evaluation.comparison.model_spec`.
        on: `test`, a day, or the path of a table; see `habla_ml.evaluation.comparison.test_speech`.
        lake: Where models, snapshot and hypotheses are.
        settings: How to decode and score.
        date: As the report prints it.
        progress: Told a line now and then.
        hardware: Where it was decoded, for the provenance.

    Raises:
        EvaluationError: Fewer than two specs, one that is not known, or no speech.
    """
    if len(specs) < 2:
        raise EvaluationError(f"a comparison takes two specs at least, got {len(specs)}; e.g. base and v2")
    test_speech = load_test_speech(on, lake, settings)
    read = [parse_model_spec(each, settings) for each in specs]
    evaluated_models = [
        prepare_model(each, "base" if at == 0 else "compared", lake, settings, progress)
        for at, each in enumerate(read)
    ]
    silence = build_non_speech_set(settings.evaluation, test_speech.read_non_speech_clips())
    sets = EvaluationSets(test_speech.read, (), silence)
    heard = [decode_sets(lake, each, sets, settings.evaluation, progress) for each in evaluated_models]
    terms = () if settings.evaluation.vocabulary is None else read_terms(settings.evaluation.vocabulary)
    comparison, records = compare_with_error_tables(
        test_speech.read(),
        [
            to_decoded_model(each, of, settings.evaluation)
            for each, of in zip(evaluated_models, heard, strict=True)
        ],
        settings.evaluation,
        Provenance(
            snapshot_id=test_speech.snapshot,
            conventions=test_speech.conventions,
            conventions_digest=test_speech.conventions_digest,
            hardware=hardware,
            non_speech_problems=silence.problems,
        ),
        OptionalMeasurements(
            non_speech=silence if silence.clips else None, vocabulary=DomainVocabulary.of(terms) if terms else None
        ),
    )
    files, stored = _store_results(comparison, records, test_speech, lake, settings.work_folder / "contests", date)
    return ModelComparison(comparison, test_speech, files, stored, sum(each.decoded for each in heard))


def _store_results(
    comparison: Comparison, records: ErrorTables, test_speech: TestSpeech, lake: Lake, reports: Path, date: str
) -> tuple[ReportFiles, str]:
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=reports, prefix=".contest-") as scratch:
        files = write_report(comparison, None, test_speech.read(), Path(scratch) / "report", date, records=records)
        stored = lake.put_file(files.json)
        name = catalogue.COMPARISON.name(stored[:16])
        value = {
            "comparison": stored,
            "html": lake.put_file(files.html),
            "markdown": lake.put_file(files.markdown),
            "utterances": lake.put_file(files.utterances),
            "word_errors": lake.put_file(files.word_errors),
            "snapshot": test_speech.snapshot,
        }
        lake.move_pointer(name, value, lake.read_pointer(name))
        folder = reports / stored[:16]
        shutil.rmtree(folder, ignore_errors=True)
        (Path(scratch) / "report").rename(folder)
    return ReportFiles(*(folder / path.name for path in (files.html, files.markdown, files.json))), stored
