"""Transcripts of the pool by the released model, decoded as served; cached hypotheses are not decoded again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow.parquet as pq

from habla_ml.audio import decode_flac
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import CorpusError
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.export.publish import checkout_artefact
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.recordings.days import load_day
from habla_ml.release.channel import read_channel
from habla_ml.review.candidates import ReviewCandidate
from habla_ml.review.selection import ComparedHypothesis
from habla_ml.settings import Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import read_hypotheses, transcribe_cached
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import build_served_options

ProgressCallback = Callable[[str], None]
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
    states = [each for each in (history.current, history.previous_release()) if each is not None]
    found: dict[str, ReleasedModel] = {}
    for state in states:
        pointer = lake.read_pointer(catalogue.EXPORT.name(state.model_version, SERVED.name))
        if pointer is not None:
            found.setdefault(state.model_version, ReleasedModel(state.model_version, str(pointer.value["tree"])))
    return tuple(found.values())


def decode_pool(
    lake: Lake,
    candidates: Sequence[ReviewCandidate],
    models: Sequence[ReleasedModel],
    settings: Settings,
    progress: ProgressCallback,
) -> DecodedPool:
    """Decode the candidates with the first of `models`, and with the second only where Habla has no transcript.

    The released model's transcript is compared, word by word, with Habla's where there is one, else with that of the
    previous release.

    Args:
        lake: Audio and cached hypotheses.
        candidates: The pool.
        models: The current released model and the previous one, if any; without a model nothing is decoded.
        settings: The decoding options of evaluations.
        progress: Receives a line from time to time.

    Raises:
        CorpusError: A day's recordings lack a segment that its metadata name.
        EvaluationError: The engine failed; finished hypotheses are saved.
    """
    if not models or not candidates:
        return DecodedPool({}, 0)
    newest, *before = models
    first, decoded = decode_candidates(lake, candidates, newest, settings, progress)
    without_text = [each for each in candidates if not each.machine_text] if before else []
    second, more = decode_candidates(lake, without_text, before[0], settings, progress) if without_text else ({}, 0)
    others = [_find_second_hypothesis(each, before, second) for each in candidates]
    texts = [first[each.segment_id].text for each in candidates]
    differing = _compute_disagreements(texts, [text for _, text in others])
    found = {}
    for each, (other, _), share in zip(candidates, others, differing, strict=True):
        hypothesis = first[each.segment_id]
        found[each.segment_id] = ComparedHypothesis(
            model_version=newest.version,
            text=hypothesis.text,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            second_source=other,
            disagreement=share if other else 0.0,
        )
    return DecodedPool(found, decoded + more)


def _find_second_hypothesis(
    candidate: ReviewCandidate, before: Sequence[ReleasedModel], second: Mapping[str, Hypothesis]
) -> tuple[str, str]:
    """Return the source and text of the second hypothesis; two empty strings without one."""
    if candidate.machine_text:
        return "Habla", candidate.machine_text
    if candidate.segment_id in second:
        return before[0].version, second[candidate.segment_id].text
    return "", ""


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
    progress: ProgressCallback,
) -> tuple[dict[str, Hypothesis], int]:
    """Return one model's hypotheses by segment id, and the number of clips that were decoded for them.

    Raises:
        CorpusError: A day's recordings lack a segment that its metadata name.
        EvaluationError: The engine failed; finished hypotheses are saved.
    """
    options = build_served_options(settings.evaluation)
    known = read_hypotheses(lake, model.artefact, options)
    waiting = {each.audio_sha256 for each in candidates} - known.keys()
    missing = [each for each in candidates if each.audio_sha256 in waiting]
    if not missing:
        return {each.segment_id: known[each.audio_sha256] for each in candidates}, 0
    folder = checkout_artefact(lake, model.artefact, settings.work_folder)
    decoder = open_transcriber(options, folder, settings.evaluation.device, settings.evaluation.cpu_threads)

    def report_progress(done: int, decoded: int) -> None:
        if done % _PROGRESS_INTERVAL_CLIPS == 0:
            progress(f"{model.version}: {done} of {len(missing)} clips are done ({decoded} different ones decoded)")

    with closing(decoder) as transcriber:
        fresh = transcribe_cached(
            lake, model.artefact, transcriber, _iterate_utterances(lake, missing), report_progress
        )
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
            yield from _read_day_utterances(pq.ParquetFile(lake.fetch_path(recordings.parquet)), wanted)
        if wanted:
            raise CorpusError(
                f"day {day} names {len(wanted)} segments without audio in its recordings, the first is "
                f"{next(iter(wanted))}; materialise `raw_recordings` for that day, then `review_queue`"
            )


def _read_day_utterances(recordings: pq.ParquetFile, wanted: dict[str, ReviewCandidate]) -> Iterator[Utterance]:
    """Yield the wanted segments of a day, and remove them from `wanted`."""
    for group in range(recordings.num_row_groups):
        ids = recordings.read_row_group(group, columns=["segment_id"])["segment_id"].to_pylist()
        present = [(at, wanted.pop(each)) for at, each in enumerate(ids) if each in wanted]
        if not present:
            continue
        audio = recordings.read_row_group(group, columns=["audio"])["audio"]
        for at, candidate in present:
            yield Utterance(**candidate.metadata(), sentence="", audio=decode_flac(audio[at].as_py()))
