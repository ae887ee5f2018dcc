"""Days with corpus text that is older than their annotation events or recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from habla_ml.annotation.event_log import load_events
from habla_ml.annotation.source import SourceChanges
from habla_ml.corpus.build import load_corpus_day
from habla_ml.lake import Lake, compute_digest
from habla_ml.recordings.change_detection import ChangedDay
from habla_ml.recordings.days import load_day


def find_outdated_days(lake: Lake, changes: Iterable[SourceChanges]) -> Iterator[ChangedDay]:
    """Yield the days to build again, in order: a source has unread input, or the text is older than what it is from.

    A day without recordings in the lake waits for them. Changed conventions do not make a day outdated here: a person
    starts that backfill.

    Args:
        lake: Where recordings, events and text are.
        changes: What the sources of one sensor found.
    """
    unread: dict[str, list[str]] = defaultdict(list)
    for each in (day for source in changes for day in source.days):
        unread[each.day] += [each.unread] if each.unread else []
    for day in sorted(unread):
        recordings, events, text = load_day(lake, day), load_events(lake, day), load_corpus_day(lake, day)
        if recordings is None:
            continue
        events_id = events.parquet if events else ""
        is_built = text is not None and (text.annotations, text.metadata) == (events_id, recordings.metadata)
        if unread[day] or not is_built:
            yield ChangedDay(day, compute_digest([unread[day], recordings.metadata, events_id]))
