"""A comparison for no release: everybody on the same sounds, paired, with a report and the evidence in the lake."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from habla_ml.contest.entrants import contender_of, read_entrant
from habla_ml.contest.speech import MeetingPlace, meeting_place
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.compare import Beside, compare_with_records
from habla_ml.evaluation.comparison import Comparison, Provenance
from habla_ml.evaluation.error_records import Records
from habla_ml.evaluation.evidence import evaluated_as
from habla_ml.evaluation.listening import Sounds, listen
from habla_ml.evaluation.non_speech import non_speech_set
from habla_ml.evaluation.report import ReportFiles, write_report
from habla_ml.evaluation.vocabulary import Vocabulary, read_terms
from habla_ml.lake import Lake, catalogue
from habla_ml.settings import Settings

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Contest:
    """What came out."""

    comparison: Comparison
    place: MeetingPlace
    files: ReportFiles
    evidence: str
    """Object id of the comparison in the lake; the pointer `contests/<its first digits>` names it."""
    decoded: int
    """Clips that no cache held."""


def hold_contest(
    entrants: Sequence[str],
    on: str,
    lake: Lake,
    settings: Settings,
    date: str,
    progress: Progress,
    hardware: str | None = None,
) -> Contest:
    """Let every entrant hear the same speech and score them side by side, each against each.

    Hypotheses are cached, so a second contest with one entrant more decodes only for that one.

    Args:
        entrants: As a person types them, see `habla_ml.contest.entrants`.
        on: `test`, a day, or the path of a table; see `habla_ml.contest.speech`.
        lake: Where models, snapshot and hypotheses are.
        settings: How to decode and score.
        date: As the report prints it.
        progress: Told a line now and then.
        hardware: Where it was decoded, for the provenance.

    Raises:
        EvaluationError: Fewer than two entrants, one that is not known, or no speech.
    """
    if len(entrants) < 2:
        raise EvaluationError(f"a comparison takes two entrants at least, got {len(entrants)}; e.g. base and v2")
    place = meeting_place(on, lake, settings)
    read = [read_entrant(each, settings) for each in entrants]
    contenders = [
        contender_of(each, "base" if at == 0 else "contender", lake, settings, progress)
        for at, each in enumerate(read)
    ]
    silence = non_speech_set(settings.evaluation, place.without_speech())
    sounds = Sounds(place.read, (), silence)
    heard = [listen(lake, each, sounds, settings.evaluation, progress) for each in contenders]
    terms = () if settings.evaluation.vocabulary is None else read_terms(settings.evaluation.vocabulary)
    comparison, records = compare_with_records(
        place.read(),
        [evaluated_as(each, of, settings.evaluation) for each, of in zip(contenders, heard, strict=True)],
        settings.evaluation,
        Provenance(
            snapshot_id=place.snapshot,
            conventions=place.conventions,
            conventions_digest=place.conventions_digest,
            hardware=hardware,
            non_speech_problems=silence.problems,
        ),
        Beside(non_speech=silence if silence.clips else None, vocabulary=Vocabulary.of(terms) if terms else None),
    )
    files, stored = _laid_down(comparison, records, place, lake, settings.work_folder / "contests", date)
    return Contest(comparison, place, files, stored, sum(each.decoded for each in heard))


def _laid_down(
    comparison: Comparison, records: Records, place: MeetingPlace, lake: Lake, reports: Path, date: str
) -> tuple[ReportFiles, str]:
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=reports, prefix=".contest-") as scratch:
        files = write_report(comparison, None, place.read(), Path(scratch) / "report", date, records=records)
        stored = lake.put_file(files.json)
        name = catalogue.COMPARISON.name(stored[:16])
        value = {
            "comparison": stored,
            "html": lake.put_file(files.html),
            "markdown": lake.put_file(files.markdown),
            "utterances": lake.put_file(files.utterances),
            "word_errors": lake.put_file(files.word_errors),
            "snapshot": place.snapshot,
        }
        lake.move_pointer(name, value, lake.pointer(name))
        folder = reports / stored[:16]
        shutil.rmtree(folder, ignore_errors=True)
        (Path(scratch) / "report").rename(folder)
    return ReportFiles(*(folder / path.name for path in (files.html, files.markdown, files.json))), stored
