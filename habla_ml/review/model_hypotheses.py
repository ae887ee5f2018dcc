"""Listening to the pool with the released model, as it is served; what was heard before is not decoded again."""

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
    """A model version that stands, or stood, on the channel."""

    version: str
    artefact: str
    """Tree id of its CTranslate2 folder."""


@dataclass(frozen=True)
class DecodedPool:
    """What was heard in the pool."""

    by_segment: Mapping[str, ComparedHypothesis]
    decoded: int
    """Clips that had to be decoded now; 0 where everything was known."""


def find_released_models(lake: Lake, store: Store, channel: str) -> tuple[ReleasedModel, ...]:
    """The model that the channel names and the one it followed, as far as the lake holds them; at most two."""
    stands = read_channel(store, channel)
    states = [each for each in (stands.current, stands.previous_release()) if each is not None]
    found: dict[str, ReleasedModel] = {}
    for state in states:
        pointer = lake.read_pointer(catalogue.EXPORT.name(state.model_version, "ctranslate2"))
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
    """Decode the candidates with the first of `models`; the second is asked only where Habla left no text.

    Two opinions on a segment are compared word by word: the released model's against Habla's own text where there is
    one, else against the release before.

    Args:
        lake: where audio and hypotheses are.
        candidates: the pool.
        models: the newest released model, and the one before where there is one; without any, nothing is heard.
        settings: how evaluations decode.
        progress: told a line now and then.

    Raises:
        CorpusError: a day's recordings lost a segment that its facts name.
        EvaluationError: the engine failed; what was decoded before is saved.
    """
    if not models or not candidates:
        return DecodedPool({}, 0)
    newest, *before = models
    heard, decoded = decode_candidates(lake, candidates, newest, settings, progress)
    mute = [each for each in candidates if not each.machine_text]
    second, also = decode_candidates(lake, mute, before[0], settings, progress) if before and mute else ({}, 0)
    opinions = [_find_second_hypothesis(each, before, second) for each in candidates]
    texts = [heard[each.segment_id].text for each in candidates]
    differing = _compute_disagreements(texts, [text for _, text in opinions])
    found = {}
    for each, (other, _), share in zip(candidates, opinions, differing, strict=True):
        hypothesis = heard[each.segment_id]
        found[each.segment_id] = ComparedHypothesis(
            model_version=newest.version,
            text=hypothesis.text,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            second_source=other,
            disagreement=share if other else 0.0,
        )
    return DecodedPool(found, decoded + also)


def _find_second_hypothesis(
    candidate: ReviewCandidate, before: Sequence[ReleasedModel], second: Mapping[str, Hypothesis]
) -> tuple[str, str]:
    """Whose it is and what it says; two empty strings where there is none."""
    if candidate.machine_text:
        return "Habla", candidate.machine_text
    if candidate.segment_id in second:
        return before[0].version, second[candidate.segment_id].text
    return "", ""


def _compute_disagreements(first: Sequence[str], second: Sequence[str]) -> list[float]:
    """Word errors between two texts over the words of the longer one: 0 for the same words, 1 for none in common."""
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
    """What one model hears in each segment, by its id, and how many clips had to be decoded for it.

    Raises:
        CorpusError: a day's recordings lost a segment that its facts name.
        EvaluationError: the engine failed; what was decoded before is saved.
    """
    options = build_served_options(settings.evaluation)
    known = read_hypotheses(lake, model.artefact, options)
    waiting = {each.audio_sha256 for each in candidates} - known.keys()
    unheard = [each for each in candidates if each.audio_sha256 in waiting]
    if not unheard:
        return {each.segment_id: known[each.audio_sha256] for each in candidates}, 0
    folder = checkout_artefact(lake, model.artefact, settings.work_folder)
    decoder = open_transcriber(options, folder, settings.evaluation.device, settings.evaluation.cpu_threads)

    def report_progress(done: int, decoded: int) -> None:
        if done % _PROGRESS_INTERVAL_CLIPS == 0:
            progress(
                f"{model.version}: {done} of {len(unheard)} clips to decode are heard ({decoded} different ones)"
            )

    with closing(decoder) as transcriber:
        fresh = transcribe_cached(
            lake, model.artefact, transcriber, _iterate_utterances(lake, unheard), report_progress
        )
    known.update((each.audio_sha256, each) for each in fresh)
    return {each.segment_id: known[each.audio_sha256] for each in candidates}, len(waiting)


def _iterate_utterances(lake: Lake, candidates: Sequence[ReviewCandidate]) -> Iterator[Utterance]:
    """The candidates with their audio, day by day; memory holds one row group, and only those needed are read."""
    by_day: dict[str, dict[str, ReviewCandidate]] = defaultdict(dict)
    for each in candidates:
        by_day[each.day][each.segment_id] = each
    for day, wanted in sorted(by_day.items()):
        recordings = load_day(lake, day)
        if recordings is not None:
            yield from _read_day_utterances(pq.ParquetFile(lake.fetch_path(recordings.parquet)), wanted)
        if wanted:
            raise CorpusError(
                f"day {day} names {len(wanted)} segments whose audio its recordings do not hold, the first is "
                f"{next(iter(wanted))}; materialise `raw_recordings` for that day, then `review_queue`"
            )


def _read_day_utterances(recordings: pq.ParquetFile, wanted: dict[str, ReviewCandidate]) -> Iterator[Utterance]:
    """Takes what it finds out of `wanted`."""
    for group in range(recordings.num_row_groups):
        ids = recordings.read_row_group(group, columns=["segment_id"])["segment_id"].to_pylist()
        present = [(at, wanted.pop(each)) for at, each in enumerate(ids) if each in wanted]
        if not present:
            continue
        audio = recordings.read_row_group(group, columns=["audio"])["audio"]
        for at, candidate in present:
            yield Utterance(**candidate.metadata(), sentence="", audio=decode_flac(audio[at].as_py()))
