"""Evidence for a release: every contender decoded as served on the newest test set, compared, judged and stored.

The pointer `models/<version>/report` names what was compared and the three forms of the report. The release reads
the comparison from there and judges it again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.general_speech import read_general_speech
from habla_ml.corpus.snapshot import Snapshot, Utterance, read_utterances
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.compare import Evaluated, OutOfDomain, compare_versions
from habla_ml.evaluation.comparison import Comparison, Provenance, Role, read_comparison
from habla_ml.evaluation.hypotheses import read_hypotheses, transcribe_cached
from habla_ml.evaluation.promotion import Decision, decide
from habla_ml.evaluation.report import ReportFiles, write_report
from habla_ml.evaluation.transcribe import DecodingOptions, FasterWhisperTranscriber, Hypothesis
from habla_ml.lake import Lake
from habla_ml.settings import Settings

Progress = Callable[[str], None]
_TELL_EVERY = 20


@dataclass(frozen=True)
class Contender:
    """A model that takes part: its artefact in the lake and the same files in a local folder."""

    name: str
    role: Role
    artefact: str
    """Tree id of the CTranslate2 folder."""
    folder: Path


@dataclass(frozen=True)
class Evidence:
    """What was found out about a candidate."""

    comparison: Comparison
    decision: Decision
    files: ReportFiles
    comparison_object: str
    """Object id of the comparison's JSON."""
    decoded: int
    """Clips that had to be decoded now; 0 where everything was known."""


def evaluate_version(
    lake: Lake,
    version: str,
    snapshot: Snapshot,
    contenders: Sequence[Contender],
    conventions: Conventions,
    settings: Settings,
    report_folder: Path,
    date: str,
    progress: Progress,
    hardware: str | None = None,
) -> Evidence:
    """Decode, compare, judge, write the report and move `models/<version>/report` to it.

    Args:
        lake: Where snapshot, hypotheses and evidence are.
        version: The candidate's model version.
        snapshot: Its test split is what everybody is scored on.
        contenders: Base, previous release where there is one, and the candidate.
        conventions: Applied to the out-of-domain references as they were to the snapshot's.
        settings: How to decode and judge.
        report_folder: Where the report is laid down for people; replaced whole.
        date: As the report prints it.
        progress: Told a line now and then.
        hardware: Where it was decoded, for the provenance.

    Raises:
        EvaluationError: The snapshot has no test set, or an engine failed.
    """
    if not snapshot.counts.get("test"):
        raise EvaluationError(
            f"snapshot {snapshot.id[:12]} has no test set (its hours by split: {dict(snapshot.hours)}); "
            "correct more sessions, publish `splits` again, then evaluate"
        )
    options = DecodingOptions(beam_size=settings.evaluation.beam_size, batch_size=settings.evaluation.batch_size)
    general = _out_of_domain(conventions, settings)
    heard = [_listen(lake, snapshot, general, each, options, settings, progress) for each in contenders]
    comparison = compare_versions(
        read_utterances(lake, snapshot, "test"),
        [
            Evaluated(each.name, each.role, each.artefact, of.test)
            for each, of in zip(contenders, heard, strict=True)
        ],
        _general_of(general, {each.name: of.general for each, of in zip(contenders, heard, strict=True)}),
        settings.evaluation,
        Provenance(
            snapshot_id=snapshot.id,
            conventions=snapshot.conventions,
            conventions_digest=snapshot.conventions_digest,
            decoding=options,
            hardware=hardware,
        ),
    )
    decision = decide(comparison, settings.promotion)
    with tempfile.TemporaryDirectory(dir=_made(report_folder.parent), prefix=".report-") as scratch:
        files = write_report(
            comparison, decision, read_utterances(lake, snapshot, "test"), Path(scratch) / "report", date
        )
        stored = _publish(lake, version, contenders, comparison, decision, files)
        shutil.rmtree(report_folder, ignore_errors=True)
        (Path(scratch) / "report").rename(report_folder)
    laid_down = ReportFiles(*(report_folder / path.name for path in (files.html, files.markdown, files.json)))
    return Evidence(comparison, decision, laid_down, stored, sum(each.decoded for each in heard))


def stored_comparison(lake: Lake, version: str) -> Comparison:
    """The comparison behind a version's report; raises `EvaluationError` where there is none."""
    pointer = lake.pointer(report_pointer(version))
    if pointer is None:
        raise EvaluationError(
            f"model version {version} was never evaluated; materialise `wer_report` for it first"
        )
    return read_comparison(lake.get_bytes(pointer.value["comparison"]))


def report_pointer(version: str) -> str:
    """The pointer that names a version's evidence."""
    return f"models/{version}/report"


@dataclass(frozen=True)
class _Heard:
    """What one contender made of the two sets."""

    test: list[Hypothesis]
    general: list[Hypothesis]
    decoded: int
    """Clips that were not in the cache."""


def _listen(
    lake: Lake,
    snapshot: Snapshot,
    general: list[Utterance],
    contender: Contender,
    options: DecodingOptions,
    settings: Settings,
    progress: Progress,
) -> _Heard:
    transcriber = FasterWhisperTranscriber(
        contender.folder, options, settings.evaluation.device, settings.evaluation.cpu_threads
    )
    known = len(read_hypotheses(lake, contender.artefact, options))
    listen = partial(
        transcribe_cached, lake, contender.artefact, transcriber, progress=_told(contender.name, progress)
    )
    test, other = listen(read_utterances(lake, snapshot, "test")), listen(general)
    return _Heard(test, other, len(read_hypotheses(lake, contender.artefact, options)) - known)


def _told(name: str, progress: Progress) -> Callable[[int, int], None]:
    def tell(done: int, decoded: int) -> None:
        if decoded and done % _TELL_EVERY == 0:
            progress(f"{name}: {done} clips heard, {decoded} of them decoded now")

    return tell


def _out_of_domain(conventions: Conventions, settings: Settings) -> list[Utterance]:
    sources, longest_s = settings.evaluation.out_of_domain, settings.recordings.longest_segment_s
    return list(read_general_speech(sources, conventions, longest_s, settings.work_folder).utterances)


def _general_of(utterances: list[Utterance], heard: Mapping[str, list[Hypothesis]]) -> OutOfDomain | None:
    return OutOfDomain(utterances, heard) if utterances else None


def _publish(
    lake: Lake,
    version: str,
    contenders: Sequence[Contender],
    comparison: Comparison,
    decision: Decision,
    files: ReportFiles,
) -> str:
    pointer, checkpoint = lake.pointer(report_pointer(version)), lake.pointer(f"models/{version}/checkpoint")
    stored = lake.put_file(files.json)
    candidate = next(each for each in contenders if each.role == "candidate")
    value = {
        "comparison": stored,
        "html": lake.put_file(files.html),
        "markdown": lake.put_file(files.markdown),
        "verdict": decision.verdict,
        "snapshot": comparison.provenance.snapshot_id,
        "ctranslate2": candidate.artefact,
        "checkpoint": None if checkpoint is None else checkpoint.value["tree"],
    }
    lake.move_pointer(report_pointer(version), value, pointer)
    return stored


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
