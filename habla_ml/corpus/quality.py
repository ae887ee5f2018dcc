"""Quality checks of the corpus: findings with values, bounds and examples.

A finding is computed from a day's segment metadata and text, or from a snapshot's table, without audio. The problems
that the corpus builder already detected are counted here, not detected again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.audio import SILENCE_DBFS
from habla_ml.corpus.language import detect_language
from habla_ml.corpus.snapshot import iterate_days
from habla_ml.corpus.split_totals import HoursByName
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import iterate_batches, read_rows
from habla_ml.lake.table import read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.corpus.build import CorpusDay
    from habla_ml.corpus.snapshot import Snapshot
    from habla_ml.settings import QualitySettings

MAX_FINDING_EXAMPLES: Final = 10

_NAME_COLUMNS: Final = ("segment_id", "session_id", "file_name")


@dataclass(frozen=True)
class FindingExample:
    """One segment or one day of a finding."""

    segment_id: str
    """Empty for a day."""
    where: str
    """Session and file, or the day."""
    reason: str


@dataclass(frozen=True)
class QualityFinding:
    """Result of one check."""

    name: str
    passed: bool
    value: float
    bound: float
    unit: str
    """Meaning of `value` and `bound`."""
    failing_count: int
    checked_count: int
    examples: tuple[FindingExample, ...] = ()
    note: str = ""
    """Why there is no verdict, or what to do."""


def check_text(lake: Lake, day: CorpusDay, settings: QualitySettings) -> tuple[QualityFinding, ...]:
    """Check one day's annotated text: existing words, speaking rate, lengths, language."""
    columns = [*_NAME_COLUMNS, "sentence", "problem", "duration_s"]
    table = read_table(lake, day.parquet, columns)
    spoken = table.filter(pc.not_equal(pc.fill_null(table["problem"], ""), "unusable"))
    usable = table.filter(pc.is_null(table["problem"]))
    shares = (
        ("texts_have_words", ["empty", "only markers"], settings.most_without_words_share),
        ("speaking_rate_is_plausible", ["too fast", "too slow"], settings.most_implausible_rate_share),
    )
    return (
        *(
            _check_share(
                name, spoken, pc.is_in(spoken["problem"], pa.array(problems)), spoken["problem"], bound, settings
            )
            for name, problems, bound in shares
        ),
        _check_length_correlation(spoken, usable, settings),
        _check_language(_FailingShare().add(usable, *_find_other_languages(usable)), settings),
    )


def check_recordings(lake: Lake, metadata: str, settings: QualitySettings) -> tuple[QualityFinding, ...]:
    """Check one day's recorded segments, annotated or not, for clipping and silence.

    `metadata` is the object id of the day's segment metadata.
    """
    columns = [*_NAME_COLUMNS, "loudness_dbfs", "clipped_share"]
    table = read_rows(lake, metadata, columns)
    clipped = pc.greater_equal(table["clipped_share"], settings.clipped_from_sample_share)
    silent = pc.less_equal(table["loudness_dbfs"], max(settings.silent_below_dbfs, SILENCE_DBFS))
    percent = _format_rounded(pc.multiply(table["clipped_share"], 100), 2, "% at full scale")
    level = _format_rounded(table["loudness_dbfs"], 1, "dBFS")
    return (
        _check_share("few_segments_clipped", table, clipped, percent, settings.most_clipped_share, settings),
        _check_share("few_segments_silent", table, silent, level, settings.most_silent_share, settings),
    )


def check_snapshot(lake: Lake, snapshot: Snapshot, settings: QualitySettings) -> tuple[QualityFinding, ...]:
    """Check training data for other languages, and for days with texts that do not match their audio."""
    columns = [*_NAME_COLUMNS, "sentence", "duration_s"]
    languages, mismatches = _FailingShare(), _MismatchedDays(settings)
    for day, rows in iterate_days(lake, snapshot, columns):
        languages.add(rows, *_find_other_languages(rows))
        mismatches.add(day, rows)
    return (_check_language(languages, settings), mismatches.check())


def hours_by_day(lake: Lake, snapshot: Snapshot) -> dict[str, float]:
    """Return day of recording → hours in the snapshot."""
    sums = HoursByName("day")
    for rows in iterate_batches(lake, snapshot.segments, ["day", "duration_s"]):
        sums.add(rows)
    return dict(sorted(sums.compute().items()))


def find_lost_hours(
    before: Mapping[str, float], now: Mapping[str, float], settings: QualitySettings
) -> tuple[QualityFinding, QualityFinding]:
    """Check whether the corpus lost hours or days between two states, each day → hours."""
    had, have = sum(before.values()), sum(now.values())
    lost = max(0.0, (had - have) / had) if had else 0.0
    change = {day: now.get(day, 0.0) - hours for day, hours in before.items()}
    fallen = sorted((day for day in before if change[day] < 0), key=change.__getitem__)
    vanished = sorted(day for day, hours in before.items() if hours and not now.get(day))

    def make_examples(days: list[str]) -> tuple[FindingExample, ...]:
        return tuple(
            FindingExample("", day, f"{before[day]:.4f} h before, {now.get(day, 0.0):.4f} h now")
            for day in days[:MAX_FINDING_EXAMPLES]
        )

    return (
        QualityFinding(
            "hours_did_not_fall",
            lost <= settings.most_hours_lost_share,
            round(lost, 6),
            settings.most_hours_lost_share,
            "share of the hours lost since the last good snapshot",
            len(fallen),
            len(before),
            make_examples(fallen),
            f"{had:.2f} h before, {have:.2f} h now",
        ),
        QualityFinding(
            "no_day_vanished",
            not vanished,
            len(vanished),
            0,
            "days that lost all their hours",
            len(vanished),
            len(before),
            make_examples(vanished),
        ),
    )


def load_baseline_hours(lake: Lake) -> dict[str, float] | None:
    """Return day → hours of the newest snapshot without losses, or None before the first one.

    Only numbers are stored, so they remain valid when an erasure rewrites the snapshot.
    """
    pointer = lake.read_pointer(catalogue.LAST_GOOD_CORPUS)
    if pointer is None:
        return None
    found: dict[str, float] = lake.get_json(pointer.value["hours_by_day"])
    return found


def save_baseline_hours(lake: Lake, snapshot: Snapshot, hours: Mapping[str, float]) -> None:
    """Store a snapshot's hours as the baseline of the next one.

    Raises:
        PointerMovedError: Another process stored a baseline at the same time; run again.
    """
    value = {"snapshot": snapshot.id, "hours_by_day": lake.put_json(dict(hours))}
    lake.move_pointer(catalogue.LAST_GOOD_CORPUS, value, lake.read_pointer(catalogue.LAST_GOOD_CORPUS))


def compute_rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Return Spearman's rank correlation of two series of shape [n] with mean ranks of ties; None if one is constant."""
    from scipy.stats import spearmanr

    if len(first) < 2 or not np.ptp(first) or not np.ptp(second):
        return None
    return float(spearmanr(first, second).statistic)


class _FailingShare:
    """The share of rows that fail a check, and the first of them."""

    def __init__(self) -> None:
        self._n_rows = 0
        self._n_failing = 0
        self._examples: tuple[FindingExample, ...] = ()

    def add(self, table: pa.Table, mask: Any, reasons: Any) -> _FailingShare:
        """Add rows; those with a true `mask` fail, for the reason in `reasons`."""
        self._n_rows += table.num_rows
        self._n_failing += pc.sum(mask).as_py() or 0
        if len(self._examples) < MAX_FINDING_EXAMPLES:
            failing = _make_examples(table.append_column("reason", reasons).filter(mask))
            self._examples = (*self._examples, *failing)[:MAX_FINDING_EXAMPLES]
        return self

    def check(self, name: str, bound: float, settings: QualitySettings) -> QualityFinding:
        share = self._n_failing / self._n_rows if self._n_rows else 0.0
        enough = self._n_rows >= settings.fewest_segments
        return QualityFinding(
            name,
            share <= bound or not enough,
            round(share, 6),
            bound,
            "share of segments",
            self._n_failing,
            self._n_rows,
            self._examples,
            "" if enough else _explain_too_few(self._n_rows, settings),
        )


def _check_share(
    name: str, table: pa.Table, mask: Any, reasons: Any, bound: float, settings: QualitySettings
) -> QualityFinding:
    """Return a finding on the share of rows with a true `mask`; `reasons` has the reason of each row."""
    return _FailingShare().add(table, mask, reasons).check(name, bound, settings)


def _check_length_correlation(spoken: pa.Table, usable: pa.Table, settings: QualitySettings) -> QualityFinding:
    """Check that longer audio has longer text; otherwise texts and files may be mismatched."""
    too_long = spoken.filter(pc.fill_null(pc.equal(spoken["problem"], "too long"), False))
    enough = usable.num_rows >= settings.fewest_segments
    correlation = _correlate_lengths(usable) if enough else None
    passed = correlation is None or correlation >= settings.lowest_length_correlation
    note = "" if enough else _explain_too_few(usable.num_rows, settings)
    if not passed:
        note = "the texts may be shifted relative to the files: listen to a few, then import the table again"
    return QualityFinding(
        "texts_are_as_long_as_their_audio",
        passed,
        round(correlation, 4) if correlation is not None else 1.0,
        settings.lowest_length_correlation,
        "rank correlation of characters with seconds, at least",
        too_long.num_rows,
        usable.num_rows,
        _make_examples(too_long.append_column("reason", too_long["problem"])),
        note,
    )


class _MismatchedDays:
    """The days of a snapshot with texts that do not match their audio."""

    def __init__(self, settings: QualitySettings) -> None:
        self._settings = settings
        self._n_days = 0
        self._total_s = 0.0
        self._bad: list[tuple[str, float, float]] = []
        """Day, rank correlation and seconds."""

    def add(self, day: str, rows: pa.Table) -> None:
        self._n_days += 1
        seconds = pc.sum(rows["duration_s"]).as_py() or 0.0
        self._total_s += seconds
        correlation = _correlate_lengths(rows) if rows.num_rows >= self._settings.fewest_segments else None
        if correlation is not None and correlation < self._settings.lowest_length_correlation:
            self._bad.append((day, correlation, seconds))

    def check(self) -> QualityFinding:
        share = sum(seconds for _, _, seconds in self._bad) / self._total_s if self._total_s else 0.0
        shown = self._bad[:MAX_FINDING_EXAMPLES]
        return QualityFinding(
            "texts_are_as_long_as_their_audio",
            share <= self._settings.most_mismatched_hours_share,
            round(share, 6),
            self._settings.most_mismatched_hours_share,
            "share of the hours in days with texts that do not match their audio",
            len(self._bad),
            self._n_days,
            tuple(FindingExample("", day, f"rank correlation {each:.2f}") for day, each, _ in shown),
            "" if not self._bad else "texts may be shifted relative to the files: import the table of these days again",
        )


def _check_language(found: _FailingShare, settings: QualitySettings) -> QualityFinding:
    return found.check("texts_are_spanish", settings.most_other_language_share, settings)


def _find_other_languages(table: pa.Table) -> tuple[Any, pa.Array]:
    """Return a mask of the texts in another language than Spanish, and these languages."""
    languages = [detect_language(sentence) for sentence in table["sentence"].to_pylist()]
    reasons = pa.array([None if each in ("es", None) else each for each in languages], pa.string())
    return pc.is_valid(reasons), reasons


def _correlate_lengths(table: pa.Table) -> float | None:
    characters = pc.cast(pc.utf8_length(table["sentence"]), pa.float64())
    return compute_rank_correlation(characters.to_numpy(), table["duration_s"].to_numpy())


def _make_examples(table: pa.Table) -> tuple[FindingExample, ...]:
    return tuple(
        FindingExample(row["segment_id"], f"{row['session_id']}/{row['file_name']}", str(row["reason"]))
        for row in table.slice(0, MAX_FINDING_EXAMPLES).to_pylist()
    )


def _format_rounded(values: Any, digits: int, unit: str) -> Any:
    return pc.binary_join_element_wise(pc.cast(pc.round(values, digits), pa.string()), unit, " ")


def _explain_too_few(total: int, settings: QualitySettings) -> str:
    return f"no verdict: {total} segments are below quality.fewest_segments {settings.fewest_segments}"
