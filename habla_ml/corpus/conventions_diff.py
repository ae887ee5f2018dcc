"""Preview of changed conventions: the differences they would make in the corpus.

Reads the segment metadata and events of each day, never audio, and writes nothing. Memory holds one day.
"""

from __future__ import annotations

import difflib
import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events
from habla_ml.corpus.build import make_corpus_rows, read_annotated_segments
from habla_ml.corpus.conventions import Conventions
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.days import load_day
from habla_ml.settings import CorpusSettings

MAX_DIFF_EXAMPLES: Final = 20


@dataclass(frozen=True)
class ChangedSegment:
    """One segment with another sentence or usability under the second conventions."""

    segment_id: str
    day: str
    session_id: str
    file_name: str
    text: str
    """As typed."""
    before: str
    after: str
    problem_before: str | None
    problem_after: str | None


@dataclass(frozen=True)
class ConventionsDiff:
    """Differences of one corpus under two conventions."""

    first: str
    second: str
    days: int
    segments: int
    """Annotated segments with a recording."""
    changed: int
    """Segments with a different sentence."""
    become_usable: int
    become_unusable: int
    violations_first: Mapping[str, int]
    """Requirement → segments that break it."""
    violations_second: Mapping[str, int]
    examples: tuple[ChangedSegment, ...]
    """A random sample of the changed segments, sorted by day."""


def diff_conventions(
    lake: Lake, first: Conventions, second: Conventions, settings: CorpusSettings, most: int = MAX_DIFF_EXAMPLES
) -> ConventionsDiff:
    """Apply both conventions to all annotated text and compare the results.

    The examples are the changed segments with the smallest ids. Ids are hashes, so this is a random sample of the whole
    corpus, the same in every call.

    At most `most` examples; `settings` has the bounds of a usable segment.
    """
    totals: Counter[str] = Counter()
    broken: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    examples: list[ChangedSegment] = []
    for day in catalogue.ANNOTATIONS.keys(lake):
        recordings, events = load_day(lake, day), load_events(lake, day)
        if recordings is None or events is None:
            continue
        table, _ = read_annotated_segments(lake, recordings, events.parquet)
        before, after = make_corpus_rows(table, first, settings), make_corpus_rows(table, second, settings)
        usable = pc.is_null(before["problem"]), pc.is_null(after["problem"])
        rewritten = pc.not_equal(before["sentence"], after["sentence"])
        totals["days"] += 1
        totals["segments"] += table.num_rows
        totals["changed"] += _count_true(rewritten)
        totals["become_usable"] += _count_true(pc.and_not(usable[1], usable[0]))
        totals["become_unusable"] += _count_true(pc.and_not(usable[0], usable[1]))
        for counter, rows in zip(broken, (before, after), strict=True):
            counter.update(pc.list_flatten(rows["violations"]).to_pylist())
        different = pc.or_(rewritten, pc.not_equal(*usable))
        examples = _select_smallest(examples, before.filter(different), after.filter(different), most)
    return ConventionsDiff(
        first=first.title,
        second=second.title,
        **{name: totals[name] for name in ("days", "segments", "changed", "become_usable", "become_unusable")},
        violations_first=dict(sorted(broken[0].items())),
        violations_second=dict(sorted(broken[1].items())),
        examples=tuple(sorted(examples, key=lambda each: (each.day, each.session_id, each.file_name))),
    )


def mark_changed_words(before: str, after: str) -> str:
    """Return both sentences in one line: `[-gone-]` words precede the `{+new+}` words that replace them.

    White space is ignored.
    """
    old, new = before.split(), after.split()
    marked: list[str] = []
    for kind, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if kind == "equal":
            marked += old[start:end]
        else:
            marked += [f"[-{word}-]" for word in old[start:end]] + [f"{{+{word}+}}" for word in new[new_start:new_end]]
    return " ".join(marked) or "(no words left)"


def format_diff(diff: ConventionsDiff) -> list[str]:
    """Return the lines for a terminal: totals, violations, and examples with marked words."""
    lines = [
        f"{diff.first} → {diff.second}: {diff.segments:,} annotated segments on {diff.days:,} days",
        f"{diff.changed:,} sentences change, {diff.become_usable:,} segments become usable, "
        f"{diff.become_unusable:,} become unusable",
    ]
    for name in sorted({*diff.violations_first, *diff.violations_second}):
        was, becomes = diff.violations_first.get(name, 0), diff.violations_second.get(name, 0)
        lines.append(f"violation {name}: {was:,} → {becomes:,}")
    for each in diff.examples:
        words = mark_changed_words(each.before, each.after)
        lines.append(f"{each.day} {each.session_id}/{each.file_name}: {_replace_unprintable(words)}")
        if each.problem_before != each.problem_after:
            lines.append(f"  {each.problem_before or 'usable'} → {each.problem_after or 'usable'}")
    return lines


def _replace_unprintable(text: str) -> str:
    """Replace control characters, because a terminal may execute sequences in typed text."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def _count_true(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _select_smallest(kept: list[ChangedSegment], before: pa.Table, after: pa.Table, most: int) -> list[ChangedSegment]:
    """Return the `most` changed segments with the smallest ids among `kept` and one day."""
    few = pc.select_k_unstable(before["segment_id"], k=min(most, before.num_rows), sort_keys=[("", "ascending")])
    rows = before.select(["segment_id", "day", "session_id", "file_name", "text"])
    for suffix, table in (("before", before), ("after", after)):
        rows = rows.append_column(suffix, table["sentence"]).append_column(f"problem_{suffix}", table["problem"])
    fresh = [ChangedSegment(**row) for row in rows.take(few).to_pylist()]
    return heapq.nsmallest(most, [*kept, *fresh], key=lambda each: each.segment_id)
