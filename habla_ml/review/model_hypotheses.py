"""Transcripts of the pool by the released model, decoded as served; cached hypotheses are not decoded again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from habla_ml.audio import decode_flac
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import CorpusError
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.export.publish import checkout_artefact
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.lake.shards import find_rows
from habla_ml.recordings.days import PublishedDay, load_day
from habla_ml.release.channel import read_channel
from habla_ml.review.candidates import ReviewCandidate
from habla_ml.review.selection import ComparedHypothesis
from habla_ml.settings import Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import read_hypotheses, transcribe_cached
from habla_ml.transcription.open import open_bulk_transcriber
from habla_ml.transcription.serving_profiles import build_served_options

_PROGRESS_INTERVAL_CLIPS = 64


@dataclass(frozen=True)
class ReleasedModel:
    """A model version that is, or was, current on the channel."""

    version: str
    artefact: str
    """Tree id of its CTranslate2 folder."""


@dataclass(frozen=True)
class DecodedPool:
    """The transcripts of the pool."""

    by_segment: Mapping[str, ComparedHypothesis]
    decoded: int
    """Clips that were decoded now; 0 where all hypotheses were cached."""


def find_released_models(lake: Lake, store: Store, channel: str) -> tuple[ReleasedModel, ...]:
    """Return the current model of the channel and the one before, as far as the lake has them; at most two."""
    history = read_channel(store, channel)
    states = (history.current, history.previous_release())
    versions = dict.fromkeys(each.model_version for each in states if each is not None)
    pointers = {each: lake.read_pointer(catalogue.EXPORT.name(each, SERVED.name)) for each in versions}
    return tuple(ReleasedModel(version, str(each.value["tree"])) for version, each in pointers.items() if each)


def decode_pool(
    lake: Lake,
    candidates: Sequence[ReviewCandidate],
    models: Sequence[ReleasedModel],
    settings: Settings,
    progress: Callable[[str], None],
) -> DecodedPool:
    """Decode the candidates with the first of `models`, and with the second only where Habla has no transcript.

    The released model's transcript is compared, word by word, with Habla's where there is one, else with that of the
    previous release. Without a model nothing is decoded.

    Raises:
        CorpusError: A day's recordings lack a segment that its metadata name.
        EvaluationError: The engine failed; finished hypotheses are saved.
    """
    if not models:
        return DecodedPool({}, 0)
    newest, *before = models
    first, decoded = decode_candidates(lake, candidates, newest, settings, progress)
    without_text = [each for each in candidates if not each.machine_text] if before else []
    second, more = decode_candidates(lake, without_text, (before or models)[0], settings, progress)
    others = {each.segment_id: ("Habla", each.machine_text) for each in candidates if each.machine_text}
    others |= {segment_id: (before[0].version, each.text) for segment_id, each in second.items()}
    texts = [others.get(segment_id, ("", ""))[1] for segment_id in first]
    shares = _compute_disagreements([each.text for each in first.values()], texts)
    found = {}
    for (segment_id, hypothesis), share in zip(first.items(), shares, strict=True):
        source, _ = others.get(segment_id, ("", ""))
        found[segment_id] = ComparedHypothesis(
            model_version=newest.version,
            text=hypothesis.text,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            second_source=source,
            disagreement=share if source else 0.0,
        )
    return DecodedPool(found, decoded + more)


def _compute_disagreements(first: Sequence[str], second: Sequence[str]) -> list[float]:
    """Return word errors over the words of the longer text: 0 for the same words, 1 for none in common."""
    shares = []
    for score in score_utterances(first, second, normalise_spanish):
        words = score.words
        longer = max(words.reference_words, words.hits + words.substitutions + words.insertions)
        shares.append(words.errors / longer if longer else 0.0)
    return shares


def decode_candidates(
    lake: Lake,
    candidates: Sequence[ReviewCandidate],
    model: ReleasedModel,
    settings: Settings,
    progress: Callable[[str], None],
) -> tuple[dict[str, Hypothesis], int]:
    """Return one model's hypotheses by segment id, and the number of clips that were decoded for them.

    Raises:
        CorpusError: A day's recordings lack a segment that its metadata name.
        EvaluationError: The engine failed; finished hypotheses are saved.
    """
    if not candidates:
        return {}, 0
    options = build_served_options(settings.evaluation)
    known = read_hypotheses(lake, model.artefact, options)
    waiting = {each.audio_sha256 for each in candidates} - known.keys()
    missing = [each for each in candidates if each.audio_sha256 in waiting]

    def report_progress(done: int, decoded: int) -> None:
        if done % _PROGRESS_INTERVAL_CLIPS == 0:
            progress(f"{model.version}: {done} of {len(missing)} clips are done ({decoded} different ones decoded)")

    if missing:
        folder = checkout_artefact(lake, model.artefact, settings.work_folder)
        utterances = _iterate_utterances(lake, missing)
        with closing(open_bulk_transcriber(options, folder, settings)) as transcriber:
            fresh = transcribe_cached(lake, model.artefact, transcriber, utterances, report_progress)
        known.update((each.audio_sha256, each) for each in fresh)
    return {each.segment_id: known[each.audio_sha256] for each in candidates}, len(waiting)


def _iterate_utterances(lake: Lake, candidates: Sequence[ReviewCandidate]) -> Iterator[Utterance]:
    """Yield the candidates with their audio, day by day; reads only the row groups it needs, one at a time."""
    by_day: dict[str, dict[str, ReviewCandidate]] = defaultdict(dict)
    for each in candidates:
        by_day[each.day][each.segment_id] = each
    for day, wanted in sorted(by_day.items()):
        recordings = load_day(lake, day)
        if recordings is not None:
            yield from _read_day_utterances(lake, recordings, wanted)
        if wanted:
            raise CorpusError(
                f"day {day} names {len(wanted)} segments without audio in its recordings, the first is "
                f"{next(iter(wanted))}; materialise `raw_recordings` for that day, then `review_queue`"
            )


def _read_day_utterances(
    lake: Lake, recordings: PublishedDay, wanted: dict[str, ReviewCandidate]
) -> Iterator[Utterance]:
    """Yield the wanted segments of a day, and remove them from `wanted`."""
    for found in find_rows(lake, recordings.parquet, "segment_id", wanted.__contains__, ["segment_id", "audio"]):
        for row in found.rows.to_pylist():
            candidate = wanted.pop(row["segment_id"])
            yield Utterance(**candidate.metadata(), sentence="", audio=decode_flac(row["audio"]))
