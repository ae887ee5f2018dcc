"""References: which event of a segment is its text, and whether that text is blind.

A reference is blind if its author typed it without a text in view. A shown text pulls the transcript towards the model
that wrote it, so only blind references measure a model without favour.

The newest event of a segment decides. A segment with a blind text has a stricter rule, so that neither the second person
nor a page with machine text replaces it silently:

- The author's own newer answer replaces it, and so does `unusable` of any person. Of two people who hear a segment
  independently, one who finds it unusable is enough: it is no reference.
- An answer to a review request that showed this text replaces it, and stays blind: the shown text was no machine's.
- Any other text is a second opinion. It stays in the log, where `corpus.agreement` compares it.

A text of a person who annotated the segment before with a text in view is not blind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.events import AnnotationEvent, parse_event
from habla_ml.names import canonical_name

_BLIND_COLUMN: Final = "is_blind"


def select_references(events: pa.Table) -> pa.Table:
    """Return the event that decides for each segment; its `is_blind` says whether the reference is blind.

    `events` has the columns of `EVENT_SCHEMA`, is sorted by segment, time and event id, and has no withdrawn answers.
    """
    last = _mask_last_of_each(events["segment_id"])
    blind_segments = pc.unique(events["segment_id"].filter(pc.fill_null(events[_BLIND_COLUMN], False)))
    if not len(blind_segments):
        return events.filter(pa.array(last))
    at = pc.indices_nonzero(pc.is_in(events["segment_id"], blind_segments)).to_numpy()
    by_segment: dict[str, list[tuple[int, AnnotationEvent]]] = defaultdict(list)
    for row, index in zip(events.take(pa.array(at)).to_pylist(), at.tolist(), strict=True):
        by_segment[row["segment_id"]].append((index, parse_event(row)))
    last[at] = False
    is_blind = events[_BLIND_COLUMN].to_numpy(zero_copy_only=False)
    for history in by_segment.values():
        chosen, blind = _select_reference([each for _, each in history])
        index = history[chosen][0]
        last[index], is_blind[index] = True, blind
    column = pa.array(is_blind, pa.bool_())
    marked = events.set_column(events.column_names.index(_BLIND_COLUMN), events.schema.field(_BLIND_COLUMN), column)
    return marked.filter(pa.array(last))


def select_named_speakers(events: pa.Table) -> pa.Table:
    """Return `segment_id` and `speaker` of the newest event that names a speaker, for each segment that has one.

    `events` is as in `select_references`. Who speaks does not depend on which text counts, so an event without a speaker,
    such as a later save in Habla, changes nothing.
    """
    named = events.select(["segment_id", "speaker"]).filter(pc.not_equal(events["speaker"], ""))
    return named.filter(pa.array(_mask_last_of_each(named["segment_id"])))


def find_blind_texts(history: Sequence[AnnotationEvent]) -> list[AnnotationEvent]:
    """Return the events whose text is blind, of all events of one segment in the order of time."""
    shown: set[str] = set()
    found = []
    for each in history:
        author = canonical_name(each.author)
        if not each.is_blind:
            shown.add(author)
        elif author not in shown:
            found.append(each)
    return found


def _select_reference(history: Sequence[AnnotationEvent]) -> tuple[int, bool]:
    """Return the position of the event that decides, and whether it is blind."""
    blind_ids = {each.event_id for each in find_blind_texts(history)}
    chosen, is_blind = 0, history[0].event_id in blind_ids
    for at, each in enumerate(history[1:], start=1):
        present, own = history[chosen], each.event_id in blind_ids
        is_shown_it = each.attempt > present.attempt and each.seen_text == present.text
        is_author = canonical_name(each.author) == canonical_name(present.author)
        is_protected = own if present.status == "unusable" else is_blind
        if is_author or is_shown_it or each.status == "unusable" or not is_protected:
            chosen, is_blind = at, own or (is_blind and is_shown_it)
    return chosen, is_blind


def _mask_last_of_each(segment_ids: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark the last row of each segment."""
    ids = segment_ids.combine_chunks()
    if not len(ids):
        return np.zeros(0, np.bool_)
    return np.append(pc.not_equal(ids[:-1], ids[1:]).to_numpy(zero_copy_only=False), True)
