"""What the released model is given to hear: whether it still sounds as it did before the release.

Each day of recordings is summed once, session by session, from its facts; audio is read for the noise alone, of a
small random sample. A week's figure is a ratio of such sums over its sessions (a mean, or a share), with the standard
error of a ratio estimator under sampling of whole sessions (Cochran, Sampling techniques, 1977, section 6.4).

The level is the same ratio over the weeks before the release. Who was trained on, and which words, is fixed at the
release. Before it unknown words are counted in the held-out sessions, since training has no word that is unknown to
it, and unseen speakers in everything that was recorded, held-out people included.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.audio import SILENCE_DBFS, decode_flac
from habla_ml.audio.snr import estimate_snr_db
from habla_ml.corpus.speakers import SpeakerMap
from habla_ml.lake import Lake, compute_digest
from habla_ml.monitoring.drift import detect_drift
from habla_ml.monitoring.excess import ReferenceLevel, WeeklyMeasurement, compute_excesses, estimate_weekly_spread
from habla_ml.monitoring.fresh_corrections import FreshCorrection, SnapshotContents, count_unknown_words
from habla_ml.monitoring.record import DailyInputs, InputName, InputSeries, RatioSums, WeeklyDrift, WeeklyInput
from habla_ml.monitoring.weeks import week_of_day
from habla_ml.recordings import PublishedDay, load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.speaker_labels import is_local_speaker_label

SNR_SAMPLE_SIZE: Final = 48
"""Segments of a day whose audio is read."""
FEWEST_SESSIONS: Final = 2
"""A week with fewer says nothing about weeks."""

_INPUTS_FORMAT: Final = "habla_ml.inputs/1"
_INPUT_COLUMNS: Final = (
    "segment_id",
    "session_id",
    "duration_s",
    "loudness_dbfs",
    "clipped_share",
    "asr_status",
    "speaker",
)


@dataclass(frozen=True)
class MonitoredInput:
    """A property of what is recorded."""

    name: InputName
    tolerance: float
    """A change that matters to nobody, in the property's own unit."""
    sides: tuple[int, ...]
    """1: a rise is looked for; −1: a fall."""

    @property
    def least_spread(self) -> float:
        """Between weeks, where no more is seen."""
        return self.tolerance / 2


MONITORED_INPUTS: Final = (
    MonitoredInput("loudness_dbfs", 2.0, (1, -1)),
    MonitoredInput("snr_db", 2.0, (-1,)),
    MonitoredInput("clipped", 0.03, (1,)),
    MonitoredInput("duration_s", 0.5, (1, -1)),
    MonitoredInput("rejected", 0.05, (1,)),
    MonitoredInput("unseen_speakers", 0.15, (1,)),
    MonitoredInput("unknown_words", 0.03, (1,)),
)


def sum_days(
    lake: Lake,
    days: Iterable[str],
    known: Mapping[str, DailyInputs],
    trained: SnapshotContents,
    speakers: SpeakerMap,
) -> dict[str, DailyInputs]:
    """The sums of each day of recordings; a day whose recordings are as they were is taken from `known`.

    Args:
        lake: Where the recordings are.
        days: Days of recording.
        known: Day → what was summed before.
        trained: Whose voices are known.
        speakers: Who is enrolled.
    """
    found = {}
    who = compute_digest([_INPUTS_FORMAT, sorted(trained.train_speakers), speakers.model_dump(mode="json")])
    for name in days:
        day = load_day(lake, name)
        if day is None:
            continue
        inputs = compute_digest([who, day.facts])[:32]
        before = known.get(name)
        found[name] = (
            before if before and before.inputs == inputs else _sum_day(lake, day, inputs, trained, speakers)
        )
    return found


def build_input_series(
    days: Mapping[str, DailyInputs],
    fresh: Mapping[str, Sequence[FreshCorrection]],
    trained: SnapshotContents,
    release_week: str,
    finished: Iterable[str],
    weeks_between_false_alarms: float,
) -> tuple[InputSeries, ...]:
    """Every property with a level and at least one week to judge, and the state of each detector.

    The bound of each side of each series is raised by their number, so that all of them together raise a false alarm
    no more often than once in `weeks_between_false_alarms` weeks on average.

    Args:
        days: Totals by day, from before the release on.
        fresh: Corrections since the release, by week.
        trained: What was known at the release.
        release_week: The week of the release; those before it are the reference.
        finished: Weeks that are over; no other is judged.
        weeks_between_false_alarms: For all series together.
    """
    sums: dict[str, dict[str, RatioSums]] = defaultdict(lambda: defaultdict(RatioSums))
    for day, summed in days.items():
        for name, each in summed.sums.items():
            sums[name][week_of_day(day)] += each
    sums["unknown_words"] = _sum_unknown_words(fresh, trained)
    bound = weeks_between_false_alarms * sum(len(each.sides) for each in MONITORED_INPUTS)
    found = (
        _build_one_series(each, sums[each.name], release_week, frozenset(finished), bound)
        for each in MONITORED_INPUTS
    )
    return tuple(each for each in found if each is not None)


def ratio(sums: RatioSums) -> tuple[float, float, float]:
    """The sums' y / x, its standard error, and the effective number of sessions; x must be above 0."""
    value = sums.y / sums.x
    effective = sums.x**2 / sums.xx
    squares = max(0.0, sums.yy - 2 * value * sums.xy + value**2 * sums.xx)
    few = sums.units / max(1, sums.units - 1)
    return value, math.sqrt(few * squares) / sums.x, effective


def _build_one_series(
    watched: MonitoredInput,
    by_week: Mapping[str, RatioSums],
    release_week: str,
    finished: frozenset[str],
    bound: float,
) -> InputSeries | None:
    measured = {
        week: WeeklyMeasurement(week, *ratio(each))
        for week, each in sorted(by_week.items())
        if each.units >= FEWEST_SESSIONS and each.x > 0
    }
    before = [each for week, each in measured.items() if week < release_week]
    after = [each for week, each in measured.items() if week >= release_week]
    if not before or not after:
        return None
    whole = RatioSums()
    for each in before:
        whole += by_week[each.week]
    value, error, _ = ratio(whole)
    between = estimate_weekly_spread(before, watched.least_spread)
    level = ReferenceLevel(value, math.hypot(error, between / math.sqrt(len(before))), watched.tolerance)
    judged = [each for each in after if each.week in finished]

    def drift(side: int) -> tuple[WeeklyDrift, ...]:
        if side not in watched.sides:
            return ()
        return run_detector(judged, level, watched.least_spread, bound, side, before=before)

    return InputSeries(
        name=watched.name,
        level=value,
        allowance=level.allowance,
        reference=tuple(map(_build_weekly_input, before)),
        weeks=tuple(map(_build_weekly_input, after)),
        rise=drift(1),
        fall=drift(-1),
        bound=bound,
    )


def run_detector(
    weeks: Sequence[WeeklyMeasurement],
    level: ReferenceLevel,
    floor: float,
    bound: float,
    side: int = 1,
    samples: Sequence[WeeklyMeasurement] = (),
    before: Sequence[WeeklyMeasurement] = (),
) -> tuple[WeeklyDrift, ...]:
    """The detector after each week, with what it was given; see `compute_excesses` for the arguments."""
    given = compute_excesses(weeks, level, floor, side, samples, before)
    return tuple(
        WeeklyDrift(week=each.week, excess=week.excess, evidence=each.evidence, alarm=each.alarm)
        for week, each in zip(given, detect_drift(given, bound), strict=True)
    )


def _build_weekly_input(measured: WeeklyMeasurement) -> WeeklyInput:
    return WeeklyInput(
        week=measured.week,
        value=measured.value,
        standard_error=measured.standard_error,
        units=measured.units,
    )


def _sum_unknown_words(
    fresh: Mapping[str, Sequence[FreshCorrection]], trained: SnapshotContents
) -> dict[str, RatioSums]:
    """Words that train never had, by week: of recording for the held-out sessions, of correction since the release."""
    lines: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for week, session, sentence in trained.held_out:
        lines[week][session].append(sentence)
    for week, corrections in fresh.items():
        # The week of the release may have held-out sessions too; corrections since the release are what counts.
        lines[week] = defaultdict(list)
        for each in corrections:
            if not each.is_uncertain:
                lines[week][each.session_id].append(each.sentence)
    return {week: _sum_pairs(count_unknown_words(each, trained.vocabulary)) for week, each in lines.items()}


def _sum_day(
    lake: Lake, day: PublishedDay, inputs: str, trained: SnapshotContents, speakers: SpeakerMap
) -> DailyInputs:
    """One pass over the day's facts, and the sample's audio."""
    pairs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(name: InputName, session: str, x: float, y: float) -> None:
        pair = pairs[name][session]
        pair[0] += x
        pair[1] += y

    sample: list[tuple[int, int, str]] = []
    for at, row in enumerate(read_segment_metadata(lake, day.facts, _INPUT_COLUMNS)):
        session, seconds = row["session_id"], row["duration_s"]
        if row["loudness_dbfs"] <= SILENCE_DBFS:
            continue
        add("loudness_dbfs", session, seconds, seconds * row["loudness_dbfs"])
        add("clipped", session, 1.0, float(row["clipped_share"] > 0))
        add("duration_s", session, 1.0, seconds)
        if row["asr_status"] is not None:
            add("rejected", session, 1.0, float(row["asr_status"] == "rejected"))
        name = _find_speaker_name(speakers, session, row["speaker"])
        if name is not None:
            add("unseen_speakers", session, seconds, seconds * (name not in trained.train_speakers))
        place = (-_hash_segment_id(row["segment_id"]), at, session)
        (heapq.heappush if len(sample) < SNR_SAMPLE_SIZE else heapq.heappushpop)(sample, place)
    for session, snr_db in _measure_snr(lake, day, {at: session for _, at, session in sample}):
        add("snr_db", session, 1.0, snr_db)
    return DailyInputs(
        inputs=inputs,
        sums={
            name: _sum_pairs((x, y) for x, y in by_session.values()) for name, by_session in sorted(pairs.items())
        },
    )


def _find_speaker_name(speakers: SpeakerMap, session: str, label: str | None) -> str | None:
    """Who speaks, as a snapshot names them; None where the label means nothing beyond its session."""
    if label is None:
        return None
    person = speakers.find_person(session, label)
    if person is not None:
        return person.name
    return None if is_local_speaker_label(label) else label


def _hash_segment_id(segment_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(segment_id.encode(), digest_size=8).digest(), "big")


def _measure_snr(lake: Lake, day: PublishedDay, sample: Mapping[int, str]) -> Iterator[tuple[str, float]]:
    """Session and signal-to-noise ratio of the sampled rows; only their row groups are read."""
    file = pq.ParquetFile(lake.fetch_path(day.parquet))
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        here = sorted(at - first for at in sample if first <= at < first + rows)
        if here:
            audio: pa.ChunkedArray = file.read_row_group(group, columns=["audio"])["audio"]
            for at in here:
                snr_db = estimate_snr_db(decode_flac(audio[at].as_py()))
                if snr_db is not None:
                    yield sample[first + at], snr_db
        first += rows


def _sum_pairs(pairs: Iterable[tuple[float, float]]) -> RatioSums:
    table = np.array([each for each in pairs if each[0] > 0], dtype=np.float64).reshape(-1, 2)
    x, y = table[:, 0], table[:, 1]
    return RatioSums(
        units=len(table),
        x=float(x.sum()),
        y=float(y.sum()),
        xx=float((x * x).sum()),
        xy=float((x * y).sum()),
        yy=float((y * y).sum()),
    )
