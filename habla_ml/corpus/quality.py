"""Quality checks of the corpus: findings with values, bounds and examples.

A finding is computed from a day's segment metadata and text, or from a snapshot's table, without audio. The problems
that the corpus builder already detected are counted here, not detected again.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.audio import SILENCE_DBFS
from habla_ml.corpus.language import detect_language
from habla_ml.lake import Lake, catalogue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.corpus.build import CorpusDay
    from habla_ml.corpus.snapshot import Snapshot
    from habla_ml.settings import QualitySettings

WORDLESS_PROBLEMS: Final = ("empty", "only markers")
SPEAKING_RATE_PROBLEMS: Final = ("too fast", "too slow")
LENGTH_PROBLEMS: Final = ("too long",)
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
    """Value that is compared with the bound."""
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
    table = pq.read_table(io.BytesIO(lake.get_bytes(day.parquet)), columns=columns)
    spoken = table.filter(pc.not_equal(pc.fill_null(table["problem"], ""), "unusable"))
    usable = table.filter(pc.is_null(table["problem"]))
    return (
        _check_problem_share(
            "texts_have_words", spoken, WORDLESS_PROBLEMS, settings.most_without_words_share, settings
        ),
        _check_problem_share(
            "speaking_rate_is_plausible",
            spoken,
            SPEAKING_RATE_PROBLEMS,
            settings.most_implausible_rate_share,
            settings,
        ),
        _check_length_correlation(spoken, usable, settings),
        _check_language(usable, settings),
    )


def check_recordings(lake: Lake, metadata: str, settings: QualitySettings) -> tuple[QualityFinding, ...]:
    """Check one day's recorded segments, annotated or not, for clipping and silence.

    Args:
        lake: The lake of the day.
        metadata: Object id of the day's segment metadata.
        settings: The bounds.
    """
    columns = [*_NAME_COLUMNS, "loudness_dbfs", "clipped_share"]
    table = pq.read_table(lake.fetch_path(metadata), columns=columns)
    clipped = pc.greater_equal(table["clipped_share"], settings.clipped_from_sample_share)
    silent = pc.less_equal(table["loudness_dbfs"], max(settings.silent_below_dbfs, SILENCE_DBFS))
    return (
        _check_share(
            "few_segments_clipped",
            table,
            clipped,
            pc.binary_join_element_wise(
                _format_rounded(pc.multiply(table["clipped_share"], 100), 2), "% at full scale", " "
            ),
            settings.most_clipped_share,
            settings,
        ),
        _check_share(
            "few_segments_silent",
            table,
            silent,
            pc.binary_join_element_wise(_format_rounded(table["loudness_dbfs"], 1), "dBFS", " "),
            settings.most_silent_share,
            settings,
        ),
    )


def check_snapshot(lake: Lake, snapshot: Snapshot, settings: QualitySettings) -> tuple[QualityFinding, ...]:
    """Check training data for other languages, and for days with texts that do not match their audio."""
    columns = [*_NAME_COLUMNS, "day", "sentence", "duration_s"]
    table = pq.read_table(io.BytesIO(lake.get_bytes(snapshot.segments)), columns=columns)
    return (_check_language(table, settings), _check_mismatched_days(table, settings))


def hours_by_day(lake: Lake, snapshot: Snapshot) -> dict[str, float]:
    """Return day of recording → hours in the snapshot."""
    table = pq.read_table(io.BytesIO(lake.get_bytes(snapshot.segments)), columns=["day", "duration_s"])
    sums = table.group_by("day", use_threads=False).aggregate([("duration_s", "sum")])
    pairs = zip(sums["day"].to_pylist(), sums["duration_s_sum"].to_pylist(), strict=True)
    return {day: round(seconds / 3600, 9) for day, seconds in sorted(pairs)}


def find_lost_hours(
    before: Mapping[str, float], now: Mapping[str, float], settings: QualitySettings
) -> tuple[QualityFinding, QualityFinding]:
    """Check whether the corpus lost hours or days between two states.

    Args:
        before: Day → hours in the last good state.
        now: Day → hours now.
        settings: The bound of the lost share of the hours.
    """
    had, have = sum(before.values()), sum(now.values())
    lost = max(0.0, (had - have) / had) if had else 0.0
    fallen = sorted(
        (day for day in before if now.get(day, 0.0) < before[day]), key=lambda d: now.get(d, 0.0) - before[d]
    )
    vanished = sorted(day for day, hours in before.items() if hours and not now.get(day))
    return (
        QualityFinding(
            "hours_did_not_fall",
            lost <= settings.most_hours_lost_share,
            round(lost, 6),
            settings.most_hours_lost_share,
            "share of the hours lost since the last good snapshot",
            len(fallen),
            len(before),
            tuple(_make_day_example(day, before, now) for day in fallen[:MAX_FINDING_EXAMPLES]),
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
            tuple(_make_day_example(day, before, now) for day in vanished[:MAX_FINDING_EXAMPLES]),
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


def _check_problem_share(
    name: str, table: pa.Table, problems: Collection[str], bound: float, settings: QualitySettings
) -> QualityFinding:
    mask = pc.is_in(table["problem"], pa.array(sorted(problems)))
    return _check_share(name, table, mask, table["problem"], bound, settings)


def _check_share(
    name: str, table: pa.Table, mask: Any, reasons: Any, bound: float, settings: QualitySettings
) -> QualityFinding:
    """Return a finding on the share of rows with a true `mask`; `reasons` has the reason of each row."""
    offending, total = pc.sum(mask).as_py() or 0, table.num_rows
    share = offending / total if total else 0.0
    enough = total >= settings.fewest_segments
    shown = table.append_column("reason", reasons).filter(mask).slice(0, MAX_FINDING_EXAMPLES)
    return QualityFinding(
        name,
        share <= bound or not enough,
        round(share, 6),
        bound,
        "share of segments",
        offending,
        total,
        _make_examples(shown),
        "" if enough else _explain_too_few(total, settings),
    )


def _check_length_correlation(spoken: pa.Table, usable: pa.Table, settings: QualitySettings) -> QualityFinding:
    """Check that longer audio has longer text; otherwise texts and files may be mismatched."""
    too_long = spoken.filter(pc.is_in(spoken["problem"], pa.array(sorted(LENGTH_PROBLEMS))))
    enough = usable.num_rows >= settings.fewest_segments
    correlation = _correlate_lengths(usable) if enough else None
    passed = correlation is None or correlation >= settings.lowest_length_correlation
    note = "" if enough else _explain_too_few(usable.num_rows, settings)
    return QualityFinding(
        "texts_are_as_long_as_their_audio",
        passed,
        round(correlation, 4) if correlation is not None else 1.0,
        settings.lowest_length_correlation,
        "rank correlation of characters with seconds, at least",
        too_long.num_rows,
        usable.num_rows,
        _make_examples(too_long.append_column("reason", too_long["problem"]).slice(0, MAX_FINDING_EXAMPLES)),
        note
        if passed
        else "the texts may be shifted relative to the files: listen to a few, then import the table again",
    )


def _check_mismatched_days(table: pa.Table, settings: QualitySettings) -> QualityFinding:
    bad: list[tuple[str, float, float]] = []
    total_s = pc.sum(table["duration_s"]).as_py() or 0.0
    for day, rows in _group_by_day(table):
        if rows.num_rows < settings.fewest_segments:
            continue
        correlation = _correlate_lengths(rows)
        if correlation is not None and correlation < settings.lowest_length_correlation:
            bad.append((day, correlation, pc.sum(rows["duration_s"]).as_py()))
    share = sum(seconds for _, _, seconds in bad) / total_s if total_s else 0.0
    return QualityFinding(
        "texts_are_as_long_as_their_audio",
        share <= settings.most_mismatched_hours_share,
        round(share, 6),
        settings.most_mismatched_hours_share,
        "share of the hours in days with texts that do not match their audio",
        len(bad),
        len(pc.unique(table["day"])),
        tuple(
            FindingExample("", day, f"rank correlation {correlation:.2f}")
            for day, correlation, _ in bad[:MAX_FINDING_EXAMPLES]
        ),
        "" if not bad else "texts may be shifted relative to the files: import the table of these days again",
    )


def _check_language(table: pa.Table, settings: QualitySettings) -> QualityFinding:
    languages = [detect_language(sentence) for sentence in table["sentence"].to_pylist()]
    reasons = pa.array([None if each in ("es", None) else each for each in languages], pa.string())
    return _check_share(
        "texts_are_spanish", table, pc.is_valid(reasons), reasons, settings.most_other_language_share, settings
    )


def _correlate_lengths(table: pa.Table) -> float | None:
    characters = pc.cast(pc.utf8_length(table["sentence"]), pa.float64())
    return compute_rank_correlation(characters.to_numpy(), table["duration_s"].to_numpy())


def _group_by_day(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each day, in order of days."""
    ordered = table.select(["day", "sentence", "duration_s"]).sort_by("day")
    start = 0
    for each in pc.value_counts(ordered["day"]).to_pylist():
        yield each["values"], ordered.slice(start, each["counts"])
        start += each["counts"]


def _make_examples(table: pa.Table) -> tuple[FindingExample, ...]:
    return tuple(
        FindingExample(row["segment_id"], f"{row['session_id']}/{row['file_name']}", str(row["reason"]))
        for row in table.to_pylist()
    )


def _make_day_example(day: str, before: Mapping[str, float], now: Mapping[str, float]) -> FindingExample:
    return FindingExample("", day, f"{before[day]:.4f} h before, {now.get(day, 0.0):.4f} h now")


def _format_rounded(values: Any, digits: int) -> Any:
    return pc.cast(pc.round(values, digits), pa.string())


def _explain_too_few(total: int, settings: QualitySettings) -> str:
    return f"no verdict: {total} segments are below quality.fewest_segments {settings.fewest_segments}"
