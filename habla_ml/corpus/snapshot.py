"""A snapshot: an immutable assignment of segments to train, validation, test and the sealed share of test.

A snapshot is one JSON object in the lake and one parquet table of its segments. Audio stays in the objects of the
recordings, which the snapshot names. Its id is the sha256 of the JSON object, so the same corpus with the same ledger
has the same snapshot.

Sealed segments are test speech that only the release gate decodes, see `habla_ml.release.sealed`. `read_utterances`
reads the open splits only, so that no other stage gets sealed speech by accident.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import find_rows, iterate_batches
from habla_ml.lake.table import arrow_schema
from habla_ml.recordings.segments import SEGMENT_COLUMNS, SegmentMetadata

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

OpenSplit = Literal["train", "validation", "test"]
Split = Literal["train", "validation", "test", "sealed"]
OPEN_SPLITS: Final[tuple[OpenSplit, ...]] = ("train", "validation", "test")
"""The splits that every stage may read."""
SPLITS: Final[tuple[Split, ...]] = (*OPEN_SPLITS, "sealed")
_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
FORMAT = "habla_ml.snapshot/1"


@dataclass(frozen=True)
class Snapshot:
    """The data that a model version is trained and tested on."""

    id: str
    """sha256 of the snapshot's JSON object."""
    segments: str
    """Object id of the parquet table of segments: one row each, with its split and sentence, no audio."""
    recordings: Mapping[str, str]
    """Day of recording → object id of that day's parquet of audio."""
    corpus: Mapping[str, str]
    """Day of recording → object id of that day's parquet of text."""
    conventions: str
    """Name and version of the conventions, e.g. `orthographic-v1`."""
    conventions_digest: str
    ledger: str
    hours: Mapping[Split, float]
    """Of the open splits, and of the sealed share where there is one; so are the counts."""
    counts: Mapping[Split, int]
    kept_out: Mapping[Split, int] = field(default_factory=dict)
    """Usable segments of a split's sessions that are excluded because a review queue chose them as uncertain."""
    in_several_splits: tuple[str, ...] = ()
    """Enrolled people with speech in several splits: teachers, and people who would join too many sessions."""
    near_duplicates: Mapping[Split, int] | None = None
    """Segments dropped from each split because the other side has nearly the same audio; None before the comparison."""


@dataclass(frozen=True, kw_only=True)
class TranscribedSegment(SegmentMetadata):
    """A segment with its reference text, without audio."""

    speaker: str
    sentence: str
    role: str = ""
    """`teacher` or `student` if the speaker is enrolled, otherwise empty."""
    is_seen_speaker: bool | None = None
    """Whether the snapshot's train split has this speaker; None in train and for unknown speakers."""
    is_blind: bool = False
    """Whether the reference was typed without a text in view; False also where this is unknown."""
    is_seen_sentence: bool | None = None
    """Whether the snapshot's train split has this sentence, ignoring case and punctuation; None in train."""
    source: str = ""
    """Origin of the recording: `habla`, `table` …; empty for speech from outside the lake."""


@dataclass(frozen=True, kw_only=True)
class Utterance(TranscribedSegment):
    """A transcribed segment with its audio."""

    audio: NDArray[np.float32]
    """Samples in −1…1 at 16 kHz, mono, shape [n_samples]."""


@dataclass(frozen=True, kw_only=True)
class StoredUtterance(TranscribedSegment):
    """A transcribed segment and the place of its audio in the lake."""

    parquet: str
    """Object id of a parquet with the column `audio`."""
    row_group: int
    row: int
    """In its row group."""


@dataclass(frozen=True, kw_only=True)
class SnapshotRow(SegmentMetadata):
    """One row of a snapshot's table of segments."""

    day: str
    file_name: str
    number: int
    sentence: str
    status: str
    is_blind: bool | None
    split: Split | None
    role: str | None
    is_seen_speaker: bool | None
    is_seen_sentence: bool | None


SNAPSHOT_SCHEMA: Final = arrow_schema(
    SnapshotRow,
    order=(
        *("segment_id", "day", "session_id", "file_name", "number", "speaker", "sentence", "status"),
        *("duration_s", "loudness_dbfs", "audio_sha256"),
    ),
)


def save_snapshot(lake: Lake, draft: Snapshot) -> Snapshot:
    """Publish a snapshot and return it with its id; the same content has the same id and writes nothing."""
    body = {"format": FORMAT, **{key: value for key, value in asdict(draft).items() if key != "id"}}
    return load_snapshot(lake, lake.put_json(body))


def load_snapshot(lake: Lake, snapshot_id: str) -> Snapshot:
    """Read a snapshot by its id; raises `CorpusError` if it is no id, or the object is not a snapshot."""
    if not _ID.fullmatch(snapshot_id):
        raise CorpusError(
            f"{snapshot_id!r} is no id of a snapshot, which has 64 hexadecimal digits; `habla-ml lineage v2` prints that of a "
            "version in full, and without --snapshot the newest is taken"
        )
    body: Any = lake.get_json(snapshot_id)
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise CorpusError(
            f"object {snapshot_id} is not a snapshot of format {FORMAT}; pass an id that `splits` published"
        )
    body["in_several_splits"] = tuple(body.get("in_several_splits", ()))
    return Snapshot(id=snapshot_id, **body)


def iterate_days(
    lake: Lake, snapshot: Snapshot, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, pa.Table]]:
    """Yield each day and its rows, with these columns of those that the table has; memory holds one day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    of_day: list[pa.RecordBatch] = []
    day = ""
    for batch in iterate_batches(lake, snapshot.segments, None if columns is None else [*{*columns, "day"}]):
        for each in pc.unique(batch["day"]).to_pylist():
            if of_day and each != day:
                yield day, pa.Table.from_batches(of_day)
                of_day = []
            day = each
            of_day.append(batch.filter(pc.equal(batch["day"], each)))
    if of_day:
        yield day, pa.Table.from_batches(of_day)


def read_train_sentences(lake: Lake, snapshot: Snapshot) -> Iterator[str]:
    """Yield the sentences of the train split, without audio."""
    for _, sentence in read_sentences(lake, snapshot, "train"):
        yield sentence


def read_sentences(lake: Lake, snapshot: Snapshot, split: OpenSplit) -> Iterator[tuple[str, str]]:
    """Yield the segment id and the sentence of every utterance of an open split, without audio."""
    import pyarrow.compute as pc

    for batch in iterate_batches(lake, snapshot.segments, ["split", "segment_id", "sentence"]):
        found = batch.filter(pc.equal(batch["split"], split))
        yield from zip(found["segment_id"].to_pylist(), found["sentence"].to_pylist(), strict=True)


def read_utterances(
    lake: Lake, snapshot: Snapshot, split: OpenSplit, only: Collection[str] | None = None
) -> Iterator[Utterance]:
    """Yield the utterances of one open split on the days `only` (None: all); memory holds one row group.

    They are ordered by day, session and file.

    Raises:
        CorpusError: The split is not open, or the recordings lack audio that the snapshot names.
    """
    _check_open(split)
    return _read_split(lake, snapshot, split, only)


def locate_utterances(lake: Lake, snapshot: Snapshot, split: OpenSplit) -> Iterator[StoredUtterance]:
    """Yield the utterances of one open split in the order of `read_utterances`, without reading audio.

    Raises:
        CorpusError: As `read_utterances`.
    """
    _check_open(split)
    missing: list[str] = []
    columns = ["segment_id", "source"]
    for day, wanted in _read_days(lake, snapshot, split, None):
        recordings = snapshot.recordings[day]
        for found in find_rows(lake, recordings, "segment_id", wanted.__contains__, columns, by_ranges=True):
            for at, row in zip(found.places, found.rows.to_pylist(), strict=True):
                fields = {**_make_fields(wanted.pop(row["segment_id"])), "source": row["source"]}
                yield StoredUtterance(**fields, parquet=found.parquet, row_group=found.row_group, row=at)
        missing += wanted
    _check_found(snapshot, split, missing)


def _check_open(split: str) -> None:
    if split not in OPEN_SPLITS:
        raise CorpusError(f"split {split!r} is not one of {', '.join(OPEN_SPLITS)}; only a release reads sealed speech")


def read_sealed_utterances(lake: Lake, snapshot: Snapshot) -> Iterator[Utterance]:
    """Yield the sealed utterances, as `read_utterances` does; for the release gate only."""
    return _read_split(lake, snapshot, "sealed", None)


def read_sealed_sounds(lake: Lake, snapshot: Snapshot) -> frozenset[str]:
    """Return the sha256 of the audio of every sealed segment."""
    import pyarrow.compute as pc

    found: set[str] = set()
    for batch in iterate_batches(lake, snapshot.segments, ["audio_sha256", "split"]):
        found.update(batch.filter(pc.equal(batch["split"], "sealed"))["audio_sha256"].to_pylist())
    return frozenset(found)


def _read_split(lake: Lake, snapshot: Snapshot, split: Split, only: Collection[str] | None) -> Iterator[Utterance]:
    from habla_ml.audio import decode_flac

    missing: list[str] = []
    columns = ["segment_id", "audio", "source"]
    for day, wanted in _read_days(lake, snapshot, split, only):
        for found in find_rows(lake, snapshot.recordings[day], "segment_id", wanted.__contains__, columns):
            for row in found.rows.to_pylist():
                fields = _make_fields(wanted.pop(row["segment_id"]))
                yield Utterance(**fields, source=row["source"], audio=decode_flac(row["audio"]))
        missing += wanted
    _check_found(snapshot, split, missing)


def _read_days(
    lake: Lake, snapshot: Snapshot, split: Split, only: Collection[str] | None
) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Yield each of the days `only` (None: all) that has segments of the split, and segment id → row of these."""
    import pyarrow.compute as pc

    for day, table in iterate_days(lake, snapshot):
        if only is None or day in only:
            rows = table.filter(pc.equal(table["split"], split)).to_pylist()
            if rows:
                yield day, {row["segment_id"]: row for row in rows}


def _make_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `TranscribedSegment` without `source`."""
    return {
        **{name: row[name] for name in SEGMENT_COLUMNS},
        "sentence": row["sentence"],
        "role": row.get("role") or "",
        "is_seen_speaker": row.get("is_seen_speaker"),
        "is_blind": bool(row.get("is_blind")),
        "is_seen_sentence": row.get("is_seen_sentence"),
    }


def _check_found(snapshot: Snapshot, split: Split, missing: Sequence[str]) -> None:
    if missing:
        raise CorpusError(
            f"snapshot {snapshot.id[:12]}: its recordings lack the audio of {len(missing)} {split} segments, the first "
            f"is {missing[0]}; publish `splits` again"
        )


def load_latest_snapshot(lake: Lake) -> Snapshot:
    """Return the newest snapshot; raises `CorpusError` if there is none."""
    pointer = lake.read_pointer(catalogue.SPLITS)
    if pointer is None:
        raise CorpusError(f"there is no snapshot in {lake.url} yet; materialise `splits` first")
    return load_snapshot(lake, pointer.value["snapshot"])


def count_blind_references(lake: Lake, snapshot: Snapshot) -> dict[Split, int]:
    """Return how many references of each split were typed without a text in view; 0 in snapshots from before this."""
    import pyarrow.compute as pc

    blind = Counter[str]()
    for batch in iterate_batches(lake, snapshot.segments, ["split", "is_blind"]):
        if "is_blind" in batch.schema.names:
            blind.update(batch.filter(pc.fill_null(batch["is_blind"], False))["split"].to_pylist())
    return {split: blind[split] for split in snapshot.counts}


def find_sessions_in_two_splits(lake: Lake, snapshot: Snapshot) -> list[str]:
    """Return sessions with segments in several splits of a snapshot; there must be none."""
    import pyarrow as pa

    splits: dict[str, str] = {}
    found: set[str] = set()
    for batch in iterate_batches(lake, snapshot.segments, ["session_id", "split"]):
        pairs = pa.Table.from_batches([batch]).group_by(["session_id", "split"]).aggregate([]).to_pylist()
        for each in pairs:
            if splits.setdefault(each["session_id"], each["split"]) != each["split"]:
                found.add(each["session_id"])
    return sorted(found)
