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
from habla_ml.corpus.snapshot import Snapshot, read_train_sentences
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.compare import DecodedModel, OptionalMeasurements, compare_with_error_tables
from habla_ml.evaluation.comparison.decoding import (
    DecodedSets,
    EvaluatedModel,
    EvaluationSets,
    Progress,
    decode_sets,
    make_test_set_reader,
    measure_parity,
)
from habla_ml.evaluation.comparison.records import Comparison, ModelScore, Provenance, read_comparison
from habla_ml.evaluation.comparison.seed_spread import SeedRun, SeedSpread, summarise_seeds
from habla_ml.evaluation.metrics.alignments import read_alignments
from habla_ml.evaluation.metrics.diarisation import DiarisationScore
from habla_ml.evaluation.metrics.domain_vocabulary import (
    CorpusTermLimits,
    DomainVocabulary,
    find_corpus_terms,
    read_terms,
)
from habla_ml.evaluation.metrics.non_speech import build_non_speech_set, read_marked_clips
from habla_ml.evaluation.metrics.speaker_turns import score_speaker_labels
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.promotion.rule import Decision, decide
from habla_ml.evaluation.report import ReportFiles, write_report
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version
from habla_ml.settings import EvaluationSettings, Settings
from habla_ml.transcription.options import build_served_options


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
class ReportContext:
    """What rooms that stand above this one know of a version; its report shows it."""

    siblings: Sequence[str] = ()
    """Versions that were trained as this one but for the seed; what is stored of them is read."""
    advise: Callable[[Comparison], Advice | None] = lambda _: None
    """Whether to train, and how many more hours it would take, once the comparison is known."""
    find_override: Callable[[str], str | None] = lambda _: None
    """Who decided otherwise than the rule about evidence of this digest, and why."""


_EMPTY_CONTEXT = ReportContext()


def evaluate_version(
    lake: Lake,
    version: str,
    snapshot: Snapshot,
    evaluated_models: Sequence[EvaluatedModel],
    conventions: Conventions,
    settings: Settings,
    report_folder: Path,
    date: str,
    progress: Progress,
    hardware: str | None = None,
    context: ReportContext = _EMPTY_CONTEXT,
) -> Evidence:
    """Decode, compare, judge, write the report and move `models/<version>/report` to it.

    Args:
        lake: Where snapshot, hypotheses and evidence are.
        version: The candidate's model version.
        snapshot: Its test split is what everybody is scored on.
        evaluated_models: Base, previous release where there is one, and the candidate.
        conventions: Applied to the out-of-domain references as they were to the snapshot's.
        settings: How to decode and judge.
        report_folder: Where the report is laid down for people; replaced whole.
        date: As the report prints it.
        progress: Told a line now and then.
        hardware: Where it was decoded, for the provenance.
        context: What is known besides, for the report.

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
    silence = build_non_speech_set(settings.evaluation, read_marked_clips(lake, snapshot))
    alignments = (
        None if settings.evaluation.alignments is None else read_alignments(settings.evaluation.alignments)
    )
    sets = EvaluationSets(make_test_set_reader(lake, snapshot), general.utterances, silence, alignments)
    heard = [decode_sets(lake, each, sets, settings.evaluation, progress) for each in evaluated_models]
    candidate = next(each for each in evaluated_models if each.role == "candidate")
    comparison, records = compare_with_error_tables(
        sets.test(),
        [
            to_decoded_model(each, of, settings.evaluation)
            for each, of in zip(evaluated_models, heard, strict=True)
        ],
        settings.evaluation,
        Provenance(
            snapshot_id=snapshot.id,
            conventions=snapshot.conventions,
            conventions_digest=snapshot.conventions_digest,
            hardware=hardware,
            out_of_domain=general.sources,
            non_speech_problems=silence.problems,
        ),
        OptionalMeasurements(
            out_of_domain=general.utterances,
            non_speech=silence if silence.clips else None,
            vocabulary=build_domain_vocabulary(lake, snapshot, settings.evaluation),
            alignments=alignments,
            parity=measure_parity(lake, candidate, sets, settings.evaluation, progress),
            diarisation=_score_speaker_labels(lake, snapshot, settings),
        ),
    )
    seeds = measure_seed_spread(lake, context.siblings, comparison, progress)
    comparison = comparison.model_copy(update={"seeds": seeds})
    decision = decide(comparison, settings.promotion)
    with tempfile.TemporaryDirectory(dir=_ensure_folder(report_folder.parent), prefix=".report-") as scratch:
        files = write_report(
            comparison,
            decision,
            sets.test(),
            Path(scratch) / "report",
            date,
            override=context.find_override(decision.evidence),
            history=read_wer_history(lake, version, comparison),
            acceptable=settings.evaluation.acceptable,
            records=records,
            should_train=context.advise(comparison),
        )
        stored = _publish_report(lake, version, evaluated_models, comparison, decision, files)
        shutil.rmtree(report_folder, ignore_errors=True)
        (Path(scratch) / "report").rename(report_folder)
    laid_down = ReportFiles(*(report_folder / path.name for path in (files.html, files.markdown, files.json)))
    return Evidence(comparison, decision, laid_down, stored, sum(each.decoded for each in heard))


def read_wer_history(lake: Lake, version: str, comparison: Comparison) -> list[tuple[str, Interval]]:
    """The versions that were scored on this same test set by the same rule, the oldest first, `version` last.

    Repeats with other seeds are no points in time.
    """
    found: dict[str, Interval] = {}
    for other in catalogue.REPORT.keys(lake):
        if other == version or parent_version(other) is not None:
            continue
        try:
            stored = read_stored_comparison(lake, other)
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


def measure_seed_spread(
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
        wer = _read_comparable_wer(lake, name, own, comparison)
        if wer is None:
            progress(f"{name} is not in the spread of seeds as it is; materialise `wer_report` for it, then here")
        else:
            runs.append(SeedRun(version=name, wer=wer))
    return summarise_seeds(runs) if len(runs) > 1 else None


def _read_comparable_wer(lake: Lake, sibling: str, own: ModelScore, comparison: Comparison) -> float | None:
    try:
        stored = read_stored_comparison(lake, sibling)
    except EvaluationError:
        return None  # never scored, or in an older format
    model, served = stored.model("candidate"), lake.read_pointer(catalogue.EXPORT.name(sibling, "ctranslate2"))
    if model is None or served is None or model.artefact_digest != served.value["tree"]:
        return None
    same_set = stored.test.digest == comparison.test.digest
    same_way = (stored.method.scorer, model.decoding) == (comparison.method.scorer, own.decoding)
    return model.wer.value if same_set and same_way else None


def read_stored_comparison(lake: Lake, version: str) -> Comparison:
    """The comparison behind a version's report; raises `EvaluationError` where there is none."""
    pointer = lake.read_pointer(catalogue.REPORT.name(version))
    if pointer is None:
        raise EvaluationError(
            f"model version {version} was never evaluated; materialise `wer_report` for it first"
        )
    return read_comparison(lake.get_bytes(pointer.value["comparison"]))


def to_decoded_model(contender: EvaluatedModel, heard: DecodedSets, settings: EvaluationSettings) -> DecodedModel:
    """A contender with what it heard, ready to be compared."""
    return DecodedModel(
        name=contender.name,
        role=contender.role,
        artefact_digest=contender.artefact,
        decoding=contender.decoding or build_served_options(settings),
        hypotheses=heard.test,
        out_of_domain=heard.out_of_domain,
        non_speech=heard.non_speech,
        timed=heard.timed,
        resources=heard.resources,
    )


def build_domain_vocabulary(
    lake: Lake, snapshot: Snapshot, settings: EvaluationSettings
) -> DomainVocabulary | None:
    """The listed terms and those frequent in training and rare in general Spanish; None where there are none."""
    listed = () if settings.vocabulary is None else read_terms(settings.vocabulary)
    wanted = settings.corpus_words
    found = find_corpus_terms(
        read_train_sentences(lake, snapshot), CorpusTermLimits(wanted.fewest, wanted.zipf_below, wanted.most)
    )
    vocabulary = DomainVocabulary.of([*listed, *found])
    return vocabulary if len(vocabulary) else None


def _score_speaker_labels(lake: Lake, snapshot: Snapshot, settings: Settings) -> DiarisationScore | None:
    wanted = settings.evaluation
    if wanted.speaker_turns is None:
        return None
    return score_speaker_labels(
        lake, snapshot, wanted.speaker_turns, settings.zone, wanted.bootstrap_draws, wanted.seed
    )


def _publish_report(
    lake: Lake,
    version: str,
    evaluated_models: Sequence[EvaluatedModel],
    comparison: Comparison,
    decision: Decision,
    files: ReportFiles,
) -> str:
    pointer, checkpoint = (
        lake.read_pointer(catalogue.REPORT.name(version)),
        lake.read_pointer(catalogue.CHECKPOINT.name(version)),
    )
    stored = lake.put_file(files.json)
    candidate = next(each for each in evaluated_models if each.role == "candidate")
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


def _ensure_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
