"""Preview of changed conventions: the differences they would make in the corpus.

Reads the segment metadata and events of each day, never audio, and writes nothing. Memory holds one day.
"""

from __future__ import annotations

import difflib
import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events
from habla_ml.corpus.build import make_corpus_rows, read_annotated_segments
from habla_ml.corpus.conventions import Conventions
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings import load_day
from habla_ml.settings import CorpusSettings

MAX_DIFF_EXAMPLES: Final = 20

WordStatus = Literal["same", "gone", "new"]


@dataclass(frozen=True)
class MarkedWord:
    """A word, and whether both sentences have it, only the old one or only the new one."""

    word: str
    mark: WordStatus


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

    @property
    def words(self) -> tuple[MarkedWord, ...]:
        """Both sentences in one line: removed words precede the words that replace them."""
        return mark_changed_words(self.before, self.after)


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

    Args:
        lake: The lake of the recordings and annotation events.
        first: The present conventions of the corpus, or any others.
        second: The conventions to compare with.
        settings: Bounds of a usable segment.
        most: Largest number of examples.
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


def mark_changed_words(before: str, after: str) -> tuple[MarkedWord, ...]:
    """Return the words of both sentences in one line; white space is ignored."""
    old, new = before.split(), after.split()
    marked: list[MarkedWord] = []
    for kind, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if kind == "equal":
            marked += [MarkedWord(word, "same") for word in old[start:end]]
        else:
            marked += [MarkedWord(word, "gone") for word in old[start:end]]
            marked += [MarkedWord(word, "new") for word in new[new_start:new_end]]
    return tuple(marked)


def format_diff(diff: ConventionsDiff) -> list[str]:
    """Return the lines for a terminal: totals, violations, examples with `[-gone-]` and `{+new+}` words."""
    lines = [
        f"{diff.first} → {diff.second}: {diff.segments:,} annotated segments on {diff.days:,} days",
        f"{diff.changed:,} sentences change, {diff.become_usable:,} segments become usable, "
        f"{diff.become_unusable:,} become unusable",
    ]
    for name in sorted({*diff.violations_first, *diff.violations_second}):
        was, becomes = diff.violations_first.get(name, 0), diff.violations_second.get(name, 0)
        lines.append(f"violation {name}: {was:,} → {becomes:,}")
    for each in diff.examples:
        lines.append(
            f"{each.day} {each.session_id}/{each.file_name}: {_replace_unprintable(_format_marked_words(each.words))}"
        )
        if each.problem_before != each.problem_after:
            lines.append(f"  {each.problem_before or 'usable'} → {each.problem_after or 'usable'}")
    return lines


def _format_marked_words(words: tuple[MarkedWord, ...]) -> str:
    forms = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return " ".join(forms[each.mark].format(each.word) for each in words) or "(no words left)"


def _replace_unprintable(text: str) -> str:
    """Replace control characters, because a terminal may execute sequences in typed text."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def _count_true(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _select_smallest(kept: list[ChangedSegment], before: pa.Table, after: pa.Table, most: int) -> list[ChangedSegment]:
    """Return the `most` changed segments with the smallest ids among `kept` and one day."""
    few = pc.select_k_unstable(before["segment_id"], k=min(most, before.num_rows), sort_keys=[("", "ascending")])
    columns = ["segment_id", "day", "session_id", "file_name", "text"]
    fresh = [
        ChangedSegment(
            **row,
            before=old["sentence"],
            after=new["sentence"],
            problem_before=old["problem"],
            problem_after=new["problem"],
        )
        for row, old, new in zip(
            before.select(columns).take(few).to_pylist(),
            before.select(["sentence", "problem"]).take(few).to_pylist(),
            after.select(["sentence", "problem"]).take(few).to_pylist(),
            strict=True,
        )
    ]
    return heapq.nsmallest(most, [*kept, *fresh], key=lambda each: each.segment_id)
