"""Evidence for a release: every contender decoded as served on the newest test set, compared, judged and stored.

The pointer `models/<version>/report` names what was compared and the three forms of the report. The release reads
the comparison from there and judges it again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.general_speech import read_general_speech
from habla_ml.corpus.snapshot import Snapshot, train_sentences
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.advice import Advice
from habla_ml.evaluation.alignments import read_alignments
from habla_ml.evaluation.compare import Beside, Evaluated, compare_with_records
from habla_ml.evaluation.comparison import Comparison, ModelScore, Provenance, read_comparison
from habla_ml.evaluation.diarisation import DiarisationScore
from habla_ml.evaluation.listening import (
    Contender,
    Heard,
    Progress,
    Sounds,
    listen,
    measure_parity,
    served_options,
    snapshot_sounds,
)
from habla_ml.evaluation.non_speech import marked_clips, non_speech_set
from habla_ml.evaluation.promotion import Decision, decide
from habla_ml.evaluation.report import ReportFiles, write_report
from habla_ml.evaluation.seeds import SeedRun, SeedSpread, seed_spread
from habla_ml.evaluation.speaker_turns import score_speaker_labels
from habla_ml.evaluation.statistics import Interval
from habla_ml.evaluation.vocabulary import CorpusWords, Vocabulary, corpus_terms, read_terms
from habla_ml.lake import Lake, catalogue
from habla_ml.settings import EvaluationSettings, Settings
from habla_ml.versions import repeated_version


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


@dataclass(frozen=True)
class Surroundings:
    """What rooms that stand above this one know of a version; its report shows it."""

    siblings: Sequence[str] = ()
    """Versions that were trained as this one but for the seed; what is stored of them is read."""
    advise: Callable[[Comparison], Advice | None] = lambda _: None
    """Whether to train, and how many more hours it would take, once the comparison is known."""
    overridden: Callable[[str], str | None] = lambda _: None
    """Who decided otherwise than the rule about evidence of this digest, and why."""


_NOTHING_AROUND = Surroundings()


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
    around: Surroundings = _NOTHING_AROUND,
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
        around: What is known besides, for the report.

    Raises:
        EvaluationError: The snapshot has no test set, or an engine failed.
    """
    if not snapshot.counts.get("test"):
        raise EvaluationError(
            f"snapshot {snapshot.id[:12]} has no test set (its hours by split: {dict(snapshot.hours)}); "
            "correct more sessions, publish `splits` again, then evaluate"
        )
    general = read_general_speech(
        settings.evaluation.out_of_domain,
        conventions,
        settings.recordings.longest_segment_s,
        settings.work_folder,
        read_tombstones(lake).sounds,
    )
    silence = non_speech_set(settings.evaluation, marked_clips(lake, snapshot))
    alignments = (
        None if settings.evaluation.alignments is None else read_alignments(settings.evaluation.alignments)
    )
    sounds = Sounds(snapshot_sounds(lake, snapshot), general.utterances, silence, alignments)
    heard = [listen(lake, each, sounds, settings.evaluation, progress) for each in contenders]
    candidate = next(each for each in contenders if each.role == "candidate")
    comparison, records = compare_with_records(
        sounds.test(),
        [evaluated_as(each, of, settings.evaluation) for each, of in zip(contenders, heard, strict=True)],
        settings.evaluation,
        Provenance(
            snapshot_id=snapshot.id,
            conventions=snapshot.conventions,
            conventions_digest=snapshot.conventions_digest,
            hardware=hardware,
            out_of_domain=general.sources,
            non_speech_problems=silence.problems,
        ),
        Beside(
            out_of_domain=general.utterances,
            non_speech=silence if silence.clips else None,
            vocabulary=classroom_vocabulary(lake, snapshot, settings.evaluation),
            alignments=alignments,
            parity=measure_parity(lake, candidate, sounds, settings.evaluation, progress),
            diarisation=_speaker_labels(lake, snapshot, settings),
        ),
    )
    seeds = spread_over_seeds(lake, around.siblings, comparison, progress)
    comparison = comparison.model_copy(update={"seeds": seeds})
    decision = decide(comparison, settings.promotion)
    with tempfile.TemporaryDirectory(dir=_made(report_folder.parent), prefix=".report-") as scratch:
        files = write_report(
            comparison,
            decision,
            sounds.test(),
            Path(scratch) / "report",
            date,
            override=around.overridden(decision.evidence),
            history=history_of(lake, version, comparison),
            acceptable=settings.evaluation.acceptable,
            records=records,
            should_train=around.advise(comparison),
        )
        stored = _publish(lake, version, contenders, comparison, decision, files)
        shutil.rmtree(report_folder, ignore_errors=True)
        (Path(scratch) / "report").rename(report_folder)
    laid_down = ReportFiles(*(report_folder / path.name for path in (files.html, files.markdown, files.json)))
    return Evidence(comparison, decision, laid_down, stored, sum(each.decoded for each in heard))


def history_of(lake: Lake, version: str, comparison: Comparison) -> list[tuple[str, Interval]]:
    """The versions that were scored on this same test set by the same rule, the oldest first, `version` last.

    Repeats with other seeds are no points in time.
    """
    found: dict[str, Interval] = {}
    for other in catalogue.REPORT.keys(lake):
        if other == version or repeated_version(other) is not None:
            continue
        try:
            stored = stored_comparison(lake, other)
        except EvaluationError:
            continue  # of an older format: it is scored again or stays out
        model = stored.model("candidate")
        same = (stored.test.digest, stored.method) == (comparison.test.digest, comparison.method)
        if same and model is not None and model.wer.interval is not None:
            found[other] = model.wer.interval
    ordered = sorted(found.items(), key=lambda pair: (len(pair[0]), pair[0]))
    present = comparison.model("candidate")
    if present is not None and present.wer.interval is not None:
        ordered.append((version, present.wer.interval))
    return ordered


def spread_over_seeds(
    lake: Lake, siblings: Sequence[str], comparison: Comparison, progress: Progress
) -> SeedSpread | None:
    """The WER of the candidate beside that of its siblings on this test set; None where there is none to set beside.

    A sibling that was scored on another test set, otherwise decoded or as other files is left out and told.
    """
    own = comparison.model("candidate")
    if own is None or own.wer.value is None:
        return None
    runs = [SeedRun(version=own.name, wer=own.wer.value)]
    for name in siblings:
        wer = _comparable_wer(lake, name, own, comparison)
        if wer is None:
            progress(f"{name} is not in the spread of seeds as it is; materialise `wer_report` for it, then here")
        else:
            runs.append(SeedRun(version=name, wer=wer))
    return seed_spread(runs) if len(runs) > 1 else None


def _comparable_wer(lake: Lake, sibling: str, own: ModelScore, comparison: Comparison) -> float | None:
    try:
        stored = stored_comparison(lake, sibling)
    except EvaluationError:
        return None  # never scored, or in an older format
    model, served = stored.model("candidate"), lake.pointer(catalogue.EXPORT.name(sibling, "ctranslate2"))
    if model is None or served is None or model.artefact_digest != served.value["tree"]:
        return None
    same_set = stored.test.digest == comparison.test.digest
    same_way = (stored.method.scorer, model.decoding) == (comparison.method.scorer, own.decoding)
    return model.wer.value if same_set and same_way else None


def stored_comparison(lake: Lake, version: str) -> Comparison:
    """The comparison behind a version's report; raises `EvaluationError` where there is none."""
    pointer = lake.pointer(catalogue.REPORT.name(version))
    if pointer is None:
        raise EvaluationError(
            f"model version {version} was never evaluated; materialise `wer_report` for it first"
        )
    return read_comparison(lake.get_bytes(pointer.value["comparison"]))


def evaluated_as(contender: Contender, heard: Heard, settings: EvaluationSettings) -> Evaluated:
    """A contender with what it heard, ready to be compared."""
    return Evaluated(
        name=contender.name,
        role=contender.role,
        artefact_digest=contender.artefact,
        decoding=contender.decoding or served_options(settings),
        hypotheses=heard.test,
        out_of_domain=heard.out_of_domain,
        non_speech=heard.non_speech,
        timed=heard.timed,
        resources=heard.resources,
    )


def classroom_vocabulary(lake: Lake, snapshot: Snapshot, settings: EvaluationSettings) -> Vocabulary | None:
    """The listed terms and those frequent in training and rare in general Spanish; None where there are none."""
    listed = () if settings.vocabulary is None else read_terms(settings.vocabulary)
    wanted = settings.corpus_words
    found = corpus_terms(
        train_sentences(lake, snapshot), CorpusWords(wanted.fewest, wanted.zipf_below, wanted.most)
    )
    vocabulary = Vocabulary.of([*listed, *found])
    return vocabulary if len(vocabulary) else None


def _speaker_labels(lake: Lake, snapshot: Snapshot, settings: Settings) -> DiarisationScore | None:
    wanted = settings.evaluation
    if wanted.speaker_turns is None:
        return None
    return score_speaker_labels(
        lake, snapshot, wanted.speaker_turns, settings.zone, wanted.bootstrap_draws, wanted.seed
    )


def _publish(
    lake: Lake,
    version: str,
    contenders: Sequence[Contender],
    comparison: Comparison,
    decision: Decision,
    files: ReportFiles,
) -> str:
    pointer, checkpoint = (
        lake.pointer(catalogue.REPORT.name(version)),
        lake.pointer(catalogue.CHECKPOINT.name(version)),
    )
    stored = lake.put_file(files.json)
    candidate = next(each for each in contenders if each.role == "candidate")
    value = {
        "comparison": stored,
        "html": lake.put_file(files.html),
        "markdown": lake.put_file(files.markdown),
        "utterances": lake.put_file(files.utterances),
        "word_errors": lake.put_file(files.word_errors),
        "verdict": decision.verdict,
        "snapshot": comparison.provenance.snapshot_id,
        "ctranslate2": candidate.artefact,
        "checkpoint": None if checkpoint is None else checkpoint.value["tree"],
    }
    lake.move_pointer(catalogue.REPORT.name(version), value, pointer)
    return stored


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
