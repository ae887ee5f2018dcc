"""Read again what the service received and a restored lake lacks.

The inbox notes which clips are segments, and which texts the log of annotations has. A lake that was restored from a backup
has only what came before it. The restore leaves the pointer `restore/inbox`, and the first tick of the pipeline on that
lake compares both. Texts are read again from a day before the backup on; the log knows those that it has.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from habla_ml.inbox.database import Database
from habla_ml.inbox.unread_clips import list_upload_days, read_ingested_clips, requeue_lost_clips
from habla_ml.inbox.unread_texts import requeue_collected_texts
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata

_LONGEST_COLLECT: Final = timedelta(days=1)
"""A text is noted with the time at which its run began, and machines can have different clocks."""


def requeue_lost_inputs(lake: Lake, database: Database) -> str:
    """Make the clips and texts readable that a restored lake lacks; return what was done, empty for any other lake.

    Costs one read of a pointer, and after a restore a read of the segments of each day with uploads. Raises `LakeError` if
    the lake or the database cannot be used; the next call does it again.
    """
    pointer = lake.read_pointer(catalogue.RESTORED)
    if pointer is None:
        return ""
    clips = sum(_requeue_clips(lake, database, day) for day in list_upload_days(database))
    since = datetime.fromisoformat(pointer.value["at"]) - _LONGEST_COLLECT
    texts = requeue_collected_texts(database, since)
    lake.delete_pointer(catalogue.RESTORED)
    return f"the lake was restored from {pointer.value['backup']}: {clips} clips and {texts} texts are read again"


def _requeue_clips(lake: Lake, database: Database, day: str) -> int:
    held = load_day(lake, day)
    rows = () if held is None else read_segment_metadata(lake, held.metadata, ["segment_id"])
    present = {row["segment_id"] for row in rows}
    ingested = read_ingested_clips(database, day)
    return requeue_lost_clips(database, [clip for clip, segment in ingested.items() if segment not in present])
