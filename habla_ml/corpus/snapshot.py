"""A snapshot: an immutable assignment of segments to train, validation, test and the sealed share of test.

A snapshot is one JSON object in the lake and one parquet table of its segments. Audio stays in the objects of the
recordings, which the snapshot names. Its id is the sha256 of the JSON object, so the same corpus with the same ledger
has the same snapshot.

Sealed segments are test speech that only the release gate decodes, see `habla_ml.release.sealed`. `read_utterances`
reads the open splits only, so that no other stage gets sealed speech by accident.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import find_rows
from habla_ml.lake.table import arrow_schema, open_table, read_table
from habla_ml.recordings.segments import SEGMENT_COLUMNS, SegmentMetadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OpenSplit = Literal["train", "validation", "test"]
Split = Literal["train", "validation", "test", "sealed"]
OPEN_SPLITS: Final[tuple[OpenSplit, ...]] = ("train", "validation", "test")
"""The splits that every stage may read."""
SPLITS: Final[tuple[Split, ...]] = (*OPEN_SPLITS, "sealed")
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
    """Read a snapshot by its id; raises `CorpusError` if the object is not a snapshot."""
    body: Any = lake.get_json(snapshot_id)
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise CorpusError(
            f"object {snapshot_id} is not a snapshot of format {FORMAT}; pass an id that `splits` published"
        )
    body["in_several_splits"] = tuple(body.get("in_several_splits", ()))
    return Snapshot(id=snapshot_id, **body)


def read_train_sentences(lake: Lake, snapshot: Snapshot) -> Iterator[str]:
    """Yield the sentences of the train split, without audio."""
    for _, sentence in read_sentences(lake, snapshot, "train"):
        yield sentence


def read_sentences(lake: Lake, snapshot: Snapshot, split: OpenSplit) -> Iterator[tuple[str, str]]:
    """Yield the segment id and the sentence of every utterance of an open split, without audio."""
    import pyarrow.compute as pc

    table = read_table(lake, snapshot.segments, ["split", "segment_id", "sentence"])
    found = table.filter(pc.equal(table["split"], split))
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
    wanted = _read_rows(lake, snapshot, split, None)
    columns = ["segment_id", "source"]
    for day in _list_days(wanted):
        recordings = snapshot.recordings[day]
        for found in find_rows(lake, recordings, "segment_id", wanted.__contains__, columns, by_ranges=True):
            for at, row in zip(found.places, found.rows.to_pylist(), strict=True):
                fields = {**_make_fields(wanted.pop(row["segment_id"])), "source": row["source"]}
                yield StoredUtterance(**fields, parquet=found.parquet, row_group=found.row_group, row=at)
    _check_found(snapshot, split, wanted)


def _check_open(split: str) -> None:
    if split not in OPEN_SPLITS:
        raise CorpusError(f"split {split!r} is not one of {', '.join(OPEN_SPLITS)}; only a release reads sealed speech")


def read_sealed_utterances(lake: Lake, snapshot: Snapshot) -> Iterator[Utterance]:
    """Yield the sealed utterances, as `read_utterances` does; for the release gate only."""
    return _read_split(lake, snapshot, "sealed", None)


def read_sealed_sounds(lake: Lake, snapshot: Snapshot) -> frozenset[str]:
    """Return the sha256 of the audio of every sealed segment."""
    import pyarrow.compute as pc

    table = read_table(lake, snapshot.segments, ["audio_sha256", "split"])
    return frozenset(table.filter(pc.equal(table["split"], "sealed"))["audio_sha256"].to_pylist())


def _read_split(lake: Lake, snapshot: Snapshot, split: Split, only: Collection[str] | None) -> Iterator[Utterance]:
    from habla_ml.audio import decode_flac

    wanted = _read_rows(lake, snapshot, split, only)
    columns = ["segment_id", "audio", "source"]
    for day in _list_days(wanted):
        for found in find_rows(lake, snapshot.recordings[day], "segment_id", wanted.__contains__, columns):
            for row in found.rows.to_pylist():
                fields = _make_fields(wanted.pop(row["segment_id"]))
                yield Utterance(**fields, source=row["source"], audio=decode_flac(row["audio"]))
    _check_found(snapshot, split, wanted)


def _read_rows(lake: Lake, snapshot: Snapshot, split: Split, only: Collection[str] | None) -> dict[str, dict[str, Any]]:
    """Return segment id → row of the split's segments on the days `only` (None: all)."""
    import pyarrow.compute as pc

    table = read_table(lake, snapshot.segments)
    rows = table.filter(pc.equal(table["split"], split)).to_pylist()
    return {row["segment_id"]: row for row in rows if only is None or row["day"] in only}


def _list_days(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted({row["day"] for row in rows.values()})


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


def _check_found(snapshot: Snapshot, split: Split, missing: Mapping[str, Any]) -> None:
    if missing:
        raise CorpusError(
            f"snapshot {snapshot.id[:12]}: its recordings lack the audio of {len(missing)} {split} segments, the first "
            f"is {next(iter(missing))}; publish `splits` again"
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

    file = open_table(lake, snapshot.segments)
    if "is_blind" not in file.schema_arrow.names:
        return dict.fromkeys(snapshot.counts, 0)
    table = file.read(["split", "is_blind"])
    blind = table.filter(pc.fill_null(table["is_blind"], False))["split"].to_pylist()
    return {split: blind.count(split) for split in snapshot.counts}


def find_sessions_in_two_splits(lake: Lake, snapshot: Snapshot) -> list[str]:
    """Return sessions with segments in several splits of a snapshot; there must be none."""
    import pyarrow.compute as pc

    table = read_table(lake, snapshot.segments, ["session_id", "split"])
    counted = table.group_by("session_id").aggregate([("split", "count_distinct")])
    found: list[str] = counted.filter(pc.greater(counted["split_count_distinct"], 1))["session_id"].to_pylist()
    return sorted(found)
