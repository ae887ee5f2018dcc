"""What nobody has judged yet: recorded segments without a person's word, read from the facts, never from audio.

Two passes over the days. The first reads annotated days only and adds up whom people have heard; the second goes
through all segments in batches and keeps two bounded lists: those that the facts make suspect, and those that come
first in the week's random order. Memory grows with what people annotated and with the size of the pool, not with
what was recorded.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.event_log import load_events, read_event_table
from habla_ml.audio import SILENCE_DBFS
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import SEGMENT_COLUMNS, SegmentMetadata
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER, global_speaker, is_local_speaker_label
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SEGMENTS_PER_BATCH: Final = 65_536
_FULL_QUIET_WEIGHT_DB: Final = 20.0
"""This far below the bound, quiet speech counts in full when the pool is filled."""
_CANDIDATE_COLUMNS: Final = (*SEGMENT_COLUMNS, "day", "machine_text", "machine_confidence", "asr_status")


@dataclass(frozen=True)
class ReviewCandidate(SegmentMetadata):
    """A recorded segment that a person can review, from its metadata."""

    speaker: str
    """The session's label, an enrolled name, or `unknown`."""
    day: str
    machine_text: str
    """What Habla heard; empty where it heard nothing."""
    machine_confidence: float | None
    """0…1, Habla's own."""
    rejected: bool
    """Habla's recogniser gave nothing."""
    annotated_minutes: float
    """What people have transcribed of this voice so far; infinite where it has no name, so that nobody can know."""
    random_order: int
    """Place in the week's random order; smaller comes first."""

    @property
    def voice(self) -> str:
        """Who speaks, as far as it can be known across sessions."""
        return cross_session_voice(self.session_id, self.speaker)


@dataclass(frozen=True)
class CandidatePool:
    """The candidates that are looked at closely."""

    suspects: tuple[ReviewCandidate, ...]
    """Those that the facts make most suspect."""
    drawn: tuple[ReviewCandidate, ...]
    """The first of the week's random order over all candidates; some are suspects too."""
    candidates: int
    """All segments without a person's word, digital silence left out."""
    hours: float
    """Their audio."""

    @property
    def members(self) -> tuple[ReviewCandidate, ...]:
        """Everybody in the pool once, in the order of the recordings' days."""
        once = {each.segment_id: each for each in (*self.suspects, *self.drawn)}
        return tuple(sorted(once.values(), key=lambda each: (each.day, each.session_id, each.segment_id)))


def cross_session_voice(session_id: str, speaker: str) -> str:
    """An enrolled name is one voice everywhere; a diarisation label means nothing outside its session."""
    return global_speaker(session_id, speaker)


def is_enrolled_name(speaker: str) -> bool:
    """Whether `speaker` is an enrolled name, no diarisation label and not unknown."""
    return not is_local_speaker_label(speaker)


def list_recorded_days(lake: Lake) -> list[str]:
    """Days of which the lake holds recordings, sorted."""
    return list(catalogue.RECORDINGS.keys(lake))


def gather_pool(lake: Lake, settings: Settings, week: str) -> CandidatePool:
    """Fill the pool from the facts of all days.

    Half of `review.most_considered` goes to the most suspect, by

        confidence * (1 - c) + rejected * r + quiet * q + new_speaker / (1 + m)

    with the weights of the settings, Habla's confidence c, r = 1 where Habla rejected it, q growing from 0 at
    `evaluation.quiet_below_dbfs` to 1 at 20 dB below, and m transcribed minutes of an enrolled voice. The other half
    is drawn at random.

    Args:
        lake: where recordings and events are.
        settings: bounds and weights.
        week: seeds the random order, so that the same week draws the same segments.
    """
    annotated = _summarise_annotations(lake)
    half = max(1, settings.review.most_considered // 2)
    suspects, drawn = _Shortlist(half), _Shortlist(half)
    candidates, seconds = 0, 0.0
    for table in _iterate_unannotated(lake, annotated):
        suspicion, minutes = _compute_suspicion(table, annotated.minutes, settings)
        draws = _compute_random_order(table["segment_id"].to_pylist(), week)
        candidates += table.num_rows
        seconds += pc.sum(table["duration_s"]).as_py() or 0.0
        for shortlist, keys in ((suspects, -suspicion), (drawn, np.zeros(len(draws)))):
            for at in shortlist.find_rows_worth_adding(keys, draws):
                row = table.slice(at, 1).to_pylist()[0]
                shortlist.add(keys[at], _build_candidate(row, minutes[at], int(draws[at])))
            shortlist.trim()
    return CandidatePool(suspects.members(), drawn.members(), candidates, seconds / 3600)


def find_segments(lake: Lake, by_day: Mapping[str, frozenset[str]]) -> dict[str, ReviewCandidate]:
    """The named segments as the facts of their days know them, judged or not; unknown ones are left out."""
    found = {}
    for day, wanted in by_day.items():
        for table in _read_metadata_batches(lake, day):
            chosen = table.filter(pc.is_in(table["segment_id"], pa.array(sorted(wanted), pa.string())))
            found.update({row["segment_id"]: _build_candidate(row, 0.0, 0) for row in chosen.to_pylist()})
    return found


@dataclass(frozen=True)
class _AnnotatedSpeech:
    """What people have said so far."""

    minutes: Mapping[str, float]
    """Enrolled name → transcribed minutes."""
    sounds: NDArray[np.uint64]
    """The first 64 bits of the sha256 of every judged sound, sorted: the same sound needs no second look."""

    def has(self, sounds: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the sounds were judged; costs what is asked for, not what is known."""
        if not len(self.sounds):
            return np.zeros(len(sounds), np.bool_)
        at = np.minimum(np.searchsorted(self.sounds, sounds), len(self.sounds) - 1)
        found: NDArray[np.bool_] = self.sounds[at] == sounds
        return found


def _summarise_annotations(lake: Lake) -> _AnnotatedSpeech:
    minutes: dict[str, float] = defaultdict(float)
    sounds = [np.array([], np.uint64)]
    for day in catalogue.ANNOTATIONS.keys(lake):
        judged, transcribed = _load_annotated_ids(lake, day)
        for facts in _read_metadata_batches(lake, day) if len(judged) else ():
            known = facts.filter(pc.is_in(facts["segment_id"], judged))
            sounds.append(_compute_sha256_prefixes(known))
            heard = known.filter(pc.is_in(known["segment_id"], transcribed))
            sums = heard.group_by("speaker", use_threads=False).aggregate([("duration_s", "sum")])
            for speaker, seconds in zip(
                sums["speaker"].to_pylist(), sums["duration_s_sum"].to_pylist(), strict=True
            ):
                if is_enrolled_name(speaker or UNKNOWN_SPEAKER):
                    minutes[speaker] += seconds / 60
    return _AnnotatedSpeech(minutes, np.unique(np.concatenate(sounds)))


def _load_annotated_ids(lake: Lake, day: str) -> tuple[pa.Array, pa.Array]:
    """Ids of the day's segments that a person said something about, and of those that one transcribed."""
    events = load_events(lake, day)
    if events is None:
        return pa.array([], pa.string()), pa.array([], pa.string())
    table = read_event_table(lake, events.parquet, ("segment_id", "status"))
    words = table.filter(pc.not_equal(table["status"], "unusable"))
    return table["segment_id"].combine_chunks(), words["segment_id"].combine_chunks()


def _compute_sha256_prefixes(facts: pa.Table) -> NDArray[np.uint64]:
    """The first 64 bits of the sha256 of each row's sound."""
    return np.array([int(each[:16], 16) for each in facts["audio_sha256"].to_pylist()], np.uint64)


def _read_metadata_batches(lake: Lake, day: str) -> Iterator[pa.Table]:
    recordings = load_day(lake, day)
    if recordings is None:
        return
    for batch in pq.ParquetFile(lake.fetch_path(recordings.facts)).iter_batches(
        _SEGMENTS_PER_BATCH, columns=list(_CANDIDATE_COLUMNS)
    ):
        yield pa.Table.from_batches([batch])


def _iterate_unannotated(lake: Lake, annotated: _AnnotatedSpeech) -> Iterator[pa.Table]:
    """Batches of segments without a person's word; digital silence and sounds that were judged are left out."""
    for day in list_recorded_days(lake):
        judged, _ = _load_annotated_ids(lake, day)
        for facts in _read_metadata_batches(lake, day):
            known = pc.or_(
                pc.is_in(facts["segment_id"], judged), pa.array(annotated.has(_compute_sha256_prefixes(facts)))
            )
            wanted = facts.filter(pc.and_not(pc.greater(facts["loudness_dbfs"], SILENCE_DBFS), known))
            if wanted.num_rows:
                yield wanted


def _compute_suspicion(
    table: pa.Table, minutes: Mapping[str, float], settings: Settings
) -> tuple[NDArray[np.float64], list[float]]:
    """What the facts alone say, one figure a row, and the annotated minutes of each row's voice."""
    weights, quiet_below = settings.review.weights, settings.evaluation.quiet_below_dbfs
    known = [
        minutes.get(speaker, 0.0) if is_enrolled_name(speaker or UNKNOWN_SPEAKER) else math.inf
        for speaker in table["speaker"].to_pylist()
    ]
    confidence = pc.fill_null(table["machine_confidence"], 1.0).to_numpy()
    quiet = np.clip((quiet_below - table["loudness_dbfs"].to_numpy()) / _FULL_QUIET_WEIGHT_DB, 0, 1)
    rejected = pc.fill_null(pc.equal(table["asr_status"], "rejected"), False).to_numpy()
    found: NDArray[np.float64] = (
        weights.confidence * (1 - confidence)
        + weights.rejected * rejected.astype(np.float64)
        + weights.quiet * quiet
        + weights.new_speaker / (1 + np.array(known))
    )
    return found, known


def _compute_random_order(segment_ids: list[str], week: str) -> NDArray[np.uint64]:
    """A place in the week's random order for each segment: 64 bits of a hash keyed by the week."""
    key = week.encode()
    digests = (hashlib.blake2b(each.encode(), digest_size=8, key=key).digest() for each in segment_ids)
    return np.array([int.from_bytes(each, "big") for each in digests], np.uint64)


class _Shortlist:
    """The `most` candidates with the smallest (key, random_order), whatever passes by."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[float, int, ReviewCandidate]] = []

    def find_rows_worth_adding(self, keys: NDArray[np.float64], draws: NDArray[np.uint64]) -> list[int]:
        """Rows of a batch that could be among the first."""
        order: list[int] = np.lexsort((draws, keys))[: self._most].tolist()
        if len(self._kept) < self._most:
            return order
        worst = self._kept[-1][:2]
        return [at for at in order if (float(keys[at]), int(draws[at])) < worst]

    def add(self, key: float, candidate: ReviewCandidate) -> None:
        """Take one in; `trim` puts the list in order."""
        self._kept.append((float(key), candidate.random_order, candidate))

    def trim(self) -> None:
        """Keep the first `most`."""
        self._kept.sort(key=lambda each: each[:2])
        del self._kept[self._most :]

    def members(self) -> tuple[ReviewCandidate, ...]:
        """The candidates, smallest first."""
        return tuple(candidate for _, _, candidate in self._kept)


def _build_candidate(row: Mapping[str, Any], minutes: float, random_order: int) -> ReviewCandidate:
    return ReviewCandidate(
        **{name: row[name] for name in SEGMENT_COLUMNS} | {"speaker": row["speaker"] or UNKNOWN_SPEAKER},
        day=row["day"],
        machine_text=(row["machine_text"] or "").strip(),
        machine_confidence=row["machine_confidence"],
        rejected=row["asr_status"] == "rejected",
        annotated_minutes=minutes,
        random_order=random_order,
    )
