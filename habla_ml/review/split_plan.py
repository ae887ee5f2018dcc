"""The plan of a queue: the split of every recorded session, decided or planned, before a segment is selected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.copies import find_names_of_copies, rename_sessions
from habla_ml.corpus.planned_splits import load_planned_groups
from habla_ml.corpus.session_splits import assign_sessions
from habla_ml.corpus.snapshot import Split
from habla_ml.corpus.speakers import find_enrolled_speakers
from habla_ml.corpus.split_ledger import load_ledger
from habla_ml.corpus.split_totals import HoursByName
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import read_rows
from habla_ml.recordings.days import load_day
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER
from habla_ml.settings import Settings

_SPEECH_COLUMNS = ("session_id", "speaker", "duration_s")


@dataclass(frozen=True)
class SplitPlan:
    """The splits of all recorded sessions."""

    splits: Mapping[str, Split]
    """Session → split, decided or planned."""
    planned: Mapping[str, Split]
    """The planned ones alone, which the queue publishes."""


def plan_splits(lake: Lake, settings: Settings) -> SplitPlan:
    """Return the splits of the ledger and of earlier plans, and a new plan for the other recorded sessions.

    New sessions are assigned by recorded hours, as `corpus.splits` assigns them by hours of text. Raises `CorpusError`
    if the shares leave nothing for train.
    """
    ledger = load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER))
    known = {**load_planned_groups(lake), **ledger.groups}
    days = [found for day in catalogue.RECORDINGS.keys(lake) if (found := load_day(lake, day)) is not None]
    speech = _sum_speech(lake, [each.metadata for each in days])
    if not set(speech["session_id"].to_pylist()) - known.keys():
        return SplitPlan(known, {each: split for each, split in known.items() if each not in ledger.groups})
    sessions = set(speech["session_id"].to_pylist())
    copies = find_names_of_copies(lake, [each.metadata for each in days], sessions, known)
    speech = rename_sessions(speech, copies)
    labels = set(zip(speech["session_id"].to_pylist(), speech["speaker"].to_pylist(), strict=True))
    speakers = find_enrolled_speakers(sorted(labels), settings)
    sums = HoursByName()
    sums.add(speech)
    hours = sums.compute()
    splits = assign_sessions(hours, hours, speakers, replace(ledger, groups=known), settings)
    splits |= {name: splits[merged] for name, merged in copies.items() if merged in splits}
    return SplitPlan(splits, {each: split for each, split in splits.items() if each not in ledger.groups})


def _sum_speech(lake: Lake, metadata: list[str]) -> pa.Table:
    """Return the seconds of each session and speaker, one day in memory at a time."""
    empty = pa.table({"session_id": pa.array([], pa.string()), "speaker": [], "duration_s": []})
    tables = []
    for object_id in metadata:
        rows = read_rows(lake, object_id, _SPEECH_COLUMNS)
        sums = rows.group_by(["session_id", "speaker"], use_threads=False).aggregate([("duration_s", "sum")])
        tables.append(sums.rename_columns({"duration_s_sum": "duration_s"}).select(list(_SPEECH_COLUMNS)))
    speech = pa.concat_tables(tables) if tables else empty
    at = speech.column_names.index("speaker")
    return speech.set_column(at, "speaker", pc.fill_null(speech["speaker"].cast(pa.string()), UNKNOWN_SPEAKER))
