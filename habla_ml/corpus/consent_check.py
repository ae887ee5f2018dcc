"""Which snapshots may leave the deployment: none with an erased voice, and none with a voice that has no consent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events, read_event_table
from habla_ml.consent.admission import Consents
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.snapshot import Snapshot, iterate_days
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake
from habla_ml.lake.shards import iterate_batches, read_rows


def check_not_erased(lake: Lake, snapshot: Snapshot) -> None:
    """Raise `CorpusError` if a segment of the snapshot has a tombstone."""
    erased = read_tombstones(lake)
    rows = chain.from_iterable(
        batch.to_pylist() for batch in iterate_batches(lake, snapshot.segments, ["segment_id", "audio_sha256"])
    )
    found = sum(row["segment_id"] in erased.segments or row["audio_sha256"] in erased.sounds for row in rows)
    if found:
        raise CorpusError(
            f"snapshot {snapshot.id[:12]} has {found} segments of a voice that is erased; materialise `splits` and use "
            "the new snapshot. Nothing left the lake"
        )


def check_consents(lake: Lake, snapshot: Snapshot, consents: Consents) -> None:
    """Raise `CorpusError` if a segment of the snapshot has no valid consent now, or if no consents are recorded at all.

    A segment is checked under its recording's label, under the speaker that a person named, and under the enrolled name.
    """
    if consents.is_empty:
        raise CorpusError(
            "there is no register of consents and no consent in the service, so no withdrawal could be "
            "noticed; set consent.registry (docs/consent.md). Nothing left the lake"
        )
    register, today = consents.register, consents.today
    refused = {
        segment
        for session, speaker, segment in _list_labels(lake, snapshot)
        if register.find_refusing_contributor(session, speaker, segment, today) is not None
    }
    if refused:
        raise CorpusError(
            f"snapshot {snapshot.id[:12]} has {len(refused)} segments without a valid consent; erase who withdrew "
            "(habla-ml erase), materialise `splits`, and use the new snapshot. Nothing left the lake"
        )


def _list_labels(lake: Lake, snapshot: Snapshot) -> Iterator[tuple[str, str | None, str]]:
    """Yield session, label and id of each segment, once for each label that it has."""
    columns = ["segment_id", "session_id", "speaker"]
    for day, own in iterate_days(lake, snapshot, columns):
        recorded = [read_rows(lake, snapshot.recordings[day], columns)] if day in snapshot.recordings else []
        for table in (own, *recorded, _read_named_speakers(lake, day, columns)):
            rows = table.filter(pc.is_in(table["segment_id"], value_set=own["segment_id"])).to_pylist()
            yield from ((row["session_id"], row["speaker"], row["segment_id"]) for row in rows)


def _read_named_speakers(lake: Lake, day: str, columns: list[str]) -> pa.Table:
    """Return the speakers that people have named by now, which can be after the snapshot."""
    log = load_events(lake, day)
    if log is None:
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    events = read_event_table(lake, log.parquet, columns)
    return events.filter(pc.not_equal(events["speaker"], ""))
