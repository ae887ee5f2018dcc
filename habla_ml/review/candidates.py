"""Candidates for review: recorded segments without an annotation, from segment metadata alone.

Two passes over the days. The first reads the annotated days and adds up the transcribed minutes of each speaker. The
second reads all segments in batches and keeps two bounded lists: the most suspect segments, and the first of the
week's random order. Memory grows with the annotations and the size of the pool, not with the recordings.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events, read_valid_events
from habla_ml.annotation.review_queue import iterate_chosen_segments
from habla_ml.audio import SILENCE_DBFS
from habla_ml.corpus.split_ledger import find_sealed_sessions
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import iterate_batches
from habla_ml.names import canonical_name
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import SEGMENT_COLUMNS, SegmentMetadata
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER, global_speaker, is_local_speaker_label
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SEGMENTS_PER_BATCH: Final = 65_536
_FULL_QUIET_WEIGHT_DB: Final = 20.0
"""Level below `quiet_below_dbfs` at which quiet speech has its full weight in the pool."""
TRAIN: Final = "train"
"""The split whose sessions give uncertain segments."""
_CANDIDATE_COLUMNS: Final = (*SEGMENT_COLUMNS, "day", "machine_text", "machine_confidence", "asr_status")


@dataclass(frozen=True)
class ReviewCandidate(SegmentMetadata):
    """A recorded segment that a person can review, from its metadata."""

    speaker: str
    """The session's label, an enrolled name, or `unknown`."""
    day: str
    machine_text: str
    """Habla's transcript; empty without one."""
    machine_confidence: float | None
    """Habla's confidence, 0…1."""
    rejected: bool
    """Whether Habla's recogniser rejected the segment."""
    annotated_minutes: float
    """Transcribed minutes of this speaker; infinite for a speaker that is known in its session only."""
    random_order: int
    """Position in the week's random order, smallest first."""
    split: str = ""
    """Split of the session, decided or planned; empty where every session may be chosen from."""

    @property
    def is_held_out(self) -> bool:
        """Whether the session is used to measure models, so that no uncertain segment is chosen from it."""
        return self.split not in ("", TRAIN)

    @property
    def voice(self) -> str:
        """Key of the speaker, equal across sessions only for a name."""
        return global_speaker(self.session_id, self.speaker)


@dataclass(frozen=True)
class CandidatePool:
    """The candidates that are decoded and ranked."""

    suspects: tuple[ReviewCandidate, ...]
    drawn: tuple[ReviewCandidate, ...]
    """The first in the week's random order of the train sessions; some are suspects too."""
    candidates: int
    """Number of segments without an annotation, apart from digital silence."""
    hours: float
    held_out: tuple[ReviewCandidate, ...] = ()
    """The first in the week's random order of the held-out sessions; neither decoded nor ranked."""

    @property
    def members(self) -> tuple[ReviewCandidate, ...]:
        """Suspects and drawn candidates of train sessions without duplicates, ordered by day."""
        once = {each.segment_id: each for each in (*self.suspects, *self.drawn)}
        return tuple(sorted(once.values(), key=lambda each: (each.day, each.session_id, each.segment_id)))


def list_recorded_days(lake: Lake) -> list[str]:
    """Return the days with recordings, sorted."""
    return list(catalogue.RECORDINGS.keys(lake))


def gather_pool(lake: Lake, settings: Settings, week: str, splits: Mapping[str, str] | None = None) -> CandidatePool:
    """Return the pool, from the segment metadata of all days.

    `splits` is session → split. Uncertain segments of a held-out session would be lost, so it gives random segments
    only, and none that an earlier queue chose as uncertain. A session that is not in `splits` gives no segment. With
    None every session that is not sealed may be chosen from.

    Of a ranked choice, half of `review.most_considered` are the most suspect segments, by

        confidence * (1 - c) + rejected * r + quiet * q + new_speaker / (1 + m)

    with the weights of the settings, Habla's confidence c, r = 1 where Habla rejected the segment, q rising from 0 at
    `evaluation.quiet_below_dbfs` to 1 at 20 dB below, and m transcribed minutes of a named speaker. The other half is
    drawn at random; the same `week` draws the same segments. Of a random choice, all are drawn.
    """
    annotated = _summarise_annotations(lake)
    most = settings.review.most_considered
    half = max(1, most // 2) if settings.review.choice == "ranked" else most
    suspects, drawn, held_out = _Shortlist(most - half), _Shortlist(half), _Shortlist(half)
    # A segment is recognised by its place in the random order, which takes 8 bytes.
    chosen = _SortedNumbers(
        _compute_random_order(each["segment_id"].to_pylist(), week) for each in iterate_chosen_segments(lake)
    )
    sealed = find_sealed_sessions(lake)
    candidates, seconds = 0, 0.0
    for table in _iterate_unannotated(lake, annotated):
        suspicion, minutes = _compute_suspicion(table, annotated.minutes, settings)
        draws = _compute_random_order(table["segment_id"].to_pylist(), week)
        candidates += table.num_rows
        seconds += pc.sum(table["duration_s"]).as_py() or 0.0
        is_train, is_held_out = _find_permitted_rows(table, splits, chosen.has(draws), sealed)
        equal = np.zeros(len(draws))
        for shortlist, permitted, keys in (
            (suspects, is_train, -suspicion),
            (drawn, is_train, equal),
            (held_out, is_held_out, equal),
        ):
            rows = shortlist.find_rows_worth_adding(keys, draws, permitted)
            built = zip(table.take(pa.array(rows, pa.int64())).to_pylist(), rows, strict=True)
            shortlist.add(
                (float(keys[at]), _build_candidate(row, minutes[at], int(draws[at]), splits)) for row, at in built
            )
    return CandidatePool(suspects.members(), drawn.members(), candidates, seconds / 3600, held_out.members())


def _find_permitted_rows(
    table: pa.Table, splits: Mapping[str, str] | None, is_chosen: NDArray[np.bool_], sealed: Collection[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows may be chosen as uncertain, and which may be drawn for measuring models."""
    sessions = table["session_id"].to_pylist()
    if splits is None:
        return np.array([each not in sealed for each in sessions], np.bool_), np.zeros(table.num_rows, np.bool_)
    found = [splits.get(each, "") for each in sessions]
    is_held_out = np.array([split not in ("", TRAIN) for split in found], np.bool_)
    return np.array([split == TRAIN for split in found], np.bool_), is_held_out & ~is_chosen


def find_segments(
    lake: Lake, wanted: Iterable[tuple[str, str]], splits: Mapping[str, str] | None = None
) -> dict[str, ReviewCandidate]:
    """Return the segments with these days and ids, annotated or not, by id; unknown ids are left out."""
    by_day = defaultdict(list)
    for day, segment_id in wanted:
        by_day[day].append(segment_id)
    found = {}
    for day, ids in by_day.items():
        for table in _read_metadata_batches(lake, day):
            rows = table.filter(pc.field("segment_id").isin(ids)).to_pylist()
            found.update({row["segment_id"]: _build_candidate(row, 0.0, 0, splits) for row in rows})
    return found


@dataclass(frozen=True)
class _AnnotatedSpeech:
    """The annotated speech so far."""

    minutes: Mapping[str, float]
    """Transcribed minutes by speaker name."""
    sounds: _SortedNumbers
    """The first 64 bits of the sha256 of every annotated audio, so that no audio is annotated twice."""


class _SortedNumbers:
    """A set of numbers that takes 8 bytes for each."""

    def __init__(self, parts: Iterable[NDArray[np.uint64]]) -> None:
        self._numbers = np.unique(np.concatenate([np.array([], np.uint64), *parts]))

    def has(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which numbers are in the set, by binary search."""
        if not len(self._numbers):
            return np.zeros(len(numbers), np.bool_)
        at = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        found: NDArray[np.bool_] = self._numbers[at] == numbers
        return found


def _summarise_annotations(lake: Lake) -> _AnnotatedSpeech:
    minutes: dict[str, float] = defaultdict(float)
    sounds: list[NDArray[np.uint64]] = []
    for day in catalogue.ANNOTATIONS.keys(lake):
        annotated, transcribed = _load_annotated_ids(lake, day)
        for batch in _read_metadata_batches(lake, day) if len(annotated) else ():
            known = batch.filter(pc.field("segment_id").isin(annotated))
            sounds.append(_compute_sha256_prefixes(known))
            spoken = known.filter(pc.field("segment_id").isin(transcribed))
            sums = spoken.group_by(["session_id", "speaker"], use_threads=False).aggregate([("duration_s", "sum")])
            for row in sums.to_pylist():
                if not is_local_speaker_label(row["session_id"], row["speaker"]):
                    minutes[canonical_name(row["speaker"])] += row["duration_s_sum"] / 60
    return _AnnotatedSpeech(minutes, _SortedNumbers(sounds))


def _load_annotated_ids(lake: Lake, day: str) -> tuple[pa.Array, pa.Array]:
    """Return the ids of the day's annotated segments, and of those with a transcript."""
    events = load_events(lake, day)
    if events is None:
        return pa.array([], pa.string()), pa.array([], pa.string())
    table = read_valid_events(lake, events.parquet, ("segment_id", "status"))
    words = table.filter(pc.field("status") != "unusable")
    return table["segment_id"].combine_chunks(), words["segment_id"].combine_chunks()


def _compute_sha256_prefixes(segments: pa.Table) -> NDArray[np.uint64]:
    """Return the first 64 bits of the sha256 of each row's audio."""
    return np.array([int(each[:16], 16) for each in segments["audio_sha256"].to_pylist()], np.uint64)


def _read_metadata_batches(lake: Lake, day: str) -> Iterator[pa.Table]:
    recordings = load_day(lake, day)
    if recordings is None:
        return
    for batch in iterate_batches(lake, recordings.metadata, _CANDIDATE_COLUMNS, _SEGMENTS_PER_BATCH):
        yield pa.Table.from_batches([batch])


def _iterate_unannotated(lake: Lake, annotated: _AnnotatedSpeech) -> Iterator[pa.Table]:
    """Yield batches of segments without an annotation.

    Digital silence and audio that is annotated elsewhere are skipped.
    """
    for day in list_recorded_days(lake):
        ids, _ = _load_annotated_ids(lake, day)
        for batch in _read_metadata_batches(lake, day):
            known = pc.or_(
                pc.is_in(batch["segment_id"], ids), pa.array(annotated.sounds.has(_compute_sha256_prefixes(batch)))
            )
            wanted = batch.filter(pc.and_not(pc.greater(batch["loudness_dbfs"], SILENCE_DBFS), known))
            if wanted.num_rows:
                yield wanted


def _compute_suspicion(
    table: pa.Table, minutes: Mapping[str, float], settings: Settings
) -> tuple[NDArray[np.float64], list[float]]:
    """Return the suspicion of each row, from its metadata, and the transcribed minutes of its speaker."""
    weights, quiet_below = settings.review.weights, settings.evaluation.quiet_below_dbfs
    known = [
        math.inf if is_local_speaker_label(session, label) else minutes.get(canonical_name(label or ""), 0.0)
        for session, label in zip(table["session_id"].to_pylist(), table["speaker"].to_pylist(), strict=True)
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
    """Return the position of each segment in the week's random order: 64 bits of a hash keyed by the week."""
    digests = (hashlib.blake2b(each.encode(), digest_size=8, key=week.encode()).digest() for each in segment_ids)
    return np.array([int.from_bytes(each, "big") for each in digests], np.uint64)


class _Shortlist:
    """The `most` candidates with the smallest (key, random_order) so far."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[float, ReviewCandidate]] = []

    def find_rows_worth_adding(
        self, keys: NDArray[np.float64], draws: NDArray[np.uint64], permitted: NDArray[np.bool_]
    ) -> list[int]:
        """Return the permitted rows of a batch that could be among the first."""
        ranked = np.lexsort((draws, keys))
        order: list[int] = ranked[permitted[ranked]][: self._most].tolist()
        if len(self._kept) < self._most or not order:
            return order
        key, worst = self._kept[-1]
        return [at for at in order if (float(keys[at]), int(draws[at])) < (key, worst.random_order)]

    def add(self, candidates: Iterable[tuple[float, ReviewCandidate]]) -> None:
        """Add candidates with their keys, and keep the first `most`."""
        merged = sorted([*self._kept, *candidates], key=lambda each: (each[0], each[1].random_order))
        self._kept = merged[: self._most]

    def members(self) -> tuple[ReviewCandidate, ...]:
        """Return the candidates, smallest first."""
        return tuple(candidate for _, candidate in self._kept)


def _build_candidate(
    row: Mapping[str, Any], minutes: float, random_order: int, splits: Mapping[str, str] | None
) -> ReviewCandidate:
    return ReviewCandidate(
        **{name: row[name] for name in SEGMENT_COLUMNS} | {"speaker": row["speaker"] or UNKNOWN_SPEAKER},
        day=row["day"],
        machine_text=(row["machine_text"] or "").strip(),
        machine_confidence=row["machine_confidence"],
        rejected=row["asr_status"] == "rejected",
        annotated_minutes=minutes,
        random_order=random_order,
        split="" if splits is None else splits.get(row["session_id"], ""),
    )
