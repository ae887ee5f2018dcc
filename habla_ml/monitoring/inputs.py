"""Drift of the released model's input: loudness, noise, length, speakers and words, against before the release.

Each day of recordings is summed once, session by session, from its segment metadata; audio is read for the noise only,
of a small random sample. A week's value is a ratio of such sums over its sessions (a mean or a share), with the
standard error of a ratio estimator under sampling of whole sessions (Cochran, Sampling techniques, 1977, section 6.4).

The level is the same ratio over the weeks before the release. Training speakers and words are fixed at the release.
Before it, unknown words are counted in the held-out sessions, since no training word is unknown, and unseen speakers in
all recordings, including held-out people.
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

from habla_ml.audio import SILENCE_DBFS, decode_flac
from habla_ml.audio.snr import estimate_snr_db
from habla_ml.corpus.speakers import SpeakerMap
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.lake.shards import find_rows
from habla_ml.monitoring.drift import WeeklyDrift, detect_drift
from habla_ml.monitoring.excess import ReferenceLevel, WeeklyMeasurement, compute_excesses, estimate_weekly_spread
from habla_ml.monitoring.fresh_corrections import FreshCorrection
from habla_ml.monitoring.record import DailyInputs, InputName, InputSeries, RatioSums
from habla_ml.monitoring.snapshot_contents import SnapshotContents, UnknownWords, count_unknown_words
from habla_ml.monitoring.weeks import week_of_day
from habla_ml.names import canonical_name
from habla_ml.recordings.days import PublishedDay, load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.speaker_labels import is_local_speaker_label

SNR_SAMPLE_SIZE: Final = 48
"""Segments of a day with audio to read."""
FEWEST_SESSIONS: Final = 2
"""Fewest sessions of a measured week."""

_INPUTS_FORMAT: Final = "habla_ml.inputs/3"
_COLUMNS: Final = (
    *("segment_id", "session_id", "audio_sha256", "duration_s", "loudness_dbfs"),
    *("clipped_share", "asr_status", "speaker"),
)


@dataclass(frozen=True)
class MonitoredInput:
    """A monitored property of the recordings."""

    name: InputName
    tolerance: float
    """Largest irrelevant change, in the unit of the property."""
    sides: tuple[int, ...]
    """1 for a rise, −1 for a fall."""


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
    lake: Lake, days: Iterable[str], known: Mapping[str, DailyInputs], trained: SnapshotContents, speakers: SpeakerMap
) -> dict[str, DailyInputs]:
    """Return the sums of each day of recordings; unchanged days are taken from `known`."""
    found = {}
    who = compute_digest([_INPUTS_FORMAT, sorted(trained.train_speakers), speakers.model_dump(mode="json")])
    wanted = list(days)
    pointers = catalogue.RECORDINGS.read(lake, wanted)
    for name in wanted:
        day = load_day(pointers, name)
        if day is None:
            continue
        inputs = compute_digest([who, day.metadata])[:32]
        before = known.get(name)
        found[name] = before if before and before.inputs == inputs else _sum_day(lake, day, inputs, trained, speakers)
    return found


def build_input_series(
    days: Mapping[str, DailyInputs],
    fresh: Mapping[str, Sequence[FreshCorrection]],
    trained: SnapshotContents,
    release_week: str,
    finished: Iterable[str],
    weeks_between_false_alarms: float,
) -> tuple[InputSeries, ...]:
    """Return the series of every property with a level and at least one later week, with the state of its detectors.

    The bound of each side of each series is multiplied by their number, so that all of them together raise a false
    alarm once in `weeks_between_false_alarms` weeks or less, on average.

    Args:
        days: Sums by day, from before the release on.
        fresh: Corrections since the release, by week.
        trained: The snapshot of the released version.
        release_week: Earlier weeks are the reference.
        finished: Weeks that are over; no other week is tested.
        weeks_between_false_alarms: For all series together.
    """
    sums: dict[str, dict[str, RatioSums]] = defaultdict(lambda: defaultdict(RatioSums))
    for day, summed in days.items():
        for name, each in summed.sums.items():
            sums[name][week_of_day(day)] += each
    sums["unknown_words"] = _sum_unknown_words(fresh, trained)
    bound = weeks_between_false_alarms * sum(len(each.sides) for each in MONITORED_INPUTS)
    found = (
        _build_one_series(each, sums[each.name], release_week, frozenset(finished), bound) for each in MONITORED_INPUTS
    )
    return tuple(each for each in found if each is not None)


def ratio(sums: RatioSums) -> tuple[float, float, float]:
    """Return y / x, its standard error and the effective number of sessions; x must be above 0."""
    value = sums.y / sums.x
    effective = sums.x**2 / sums.xx
    squares = max(0.0, sums.yy - 2 * value * sums.xy + value**2 * sums.xx)
    few = sums.units / max(1, sums.units - 1)
    return value, math.sqrt(few * squares) / sums.x, effective


def _build_one_series(
    monitored: MonitoredInput,
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
    least_spread = monitored.tolerance / 2
    between = estimate_weekly_spread(before, least_spread)
    level = ReferenceLevel(value, math.hypot(error, between / math.sqrt(len(before))), monitored.tolerance)
    tested = [each for each in after if each.week in finished]

    def detect(side: int) -> tuple[WeeklyDrift, ...]:
        weeks = tested if side in monitored.sides else []
        return detect_drift(compute_excesses(weeks, level, least_spread, side, before=before), bound)

    return InputSeries(
        name=monitored.name,
        level=value,
        allowance=level.allowance,
        reference=tuple(before),
        weeks=tuple(after),
        rise=detect(1),
        fall=detect(-1),
        bound=bound,
    )


def _sum_unknown_words(
    fresh: Mapping[str, Sequence[FreshCorrection]], trained: SnapshotContents
) -> dict[str, RatioSums]:
    """Sum the words unknown to train by week: of recording for held-out sessions, of correction since the release."""
    sums = {week: _sum_pairs(sessions.values()) for week, sessions in trained.held_out.items()}
    # The week of the release can have held-out sessions too; only corrections since the release count.
    return {**sums, **{week: _sum_pairs(_count_by_session(each, trained)) for week, each in fresh.items()}}


def _count_by_session(corrections: Iterable[FreshCorrection], trained: SnapshotContents) -> list[UnknownWords]:
    lines: dict[str, list[str]] = defaultdict(list)
    for each in corrections:
        if not each.is_uncertain:
            lines[each.session_id].append(each.sentence)
    return [count_unknown_words(each, trained.vocabulary) for each in lines.values()]


def _sum_day(
    lake: Lake, day: PublishedDay, inputs: str, trained: SnapshotContents, speakers: SpeakerMap
) -> DailyInputs:
    """Sum a day in one pass over its segment metadata and the sample's audio."""
    pairs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(name: InputName, session: str, x: float, y: float) -> None:
        pair = pairs[name][session]
        pair[0] += x
        pair[1] += y

    sample: list[tuple[int, str, str]] = []
    sounds: set[str] = set()
    for row in read_segment_metadata(lake, day.metadata, _COLUMNS):
        session, seconds = row["session_id"], row["duration_s"]
        if row["loudness_dbfs"] <= SILENCE_DBFS or row["audio_sha256"] in sounds:
            continue  # nothing was recorded, or it is in a copy of a session that was counted
        sounds.add(row["audio_sha256"])
        add("loudness_dbfs", session, seconds, seconds * row["loudness_dbfs"])
        add("clipped", session, 1.0, float(row["clipped_share"] > 0))
        add("duration_s", session, 1.0, seconds)
        if row["asr_status"] is not None:
            add("rejected", session, 1.0, float(row["asr_status"] == "rejected"))
        name = _find_speaker_name(speakers, session, row["speaker"])
        if name is not None:
            add("unseen_speakers", session, seconds, seconds * (name not in trained.train_speakers))
        digest = hashlib.blake2b(row["segment_id"].encode(), digest_size=8).digest()
        entry = (-int.from_bytes(digest, "big"), row["segment_id"], session)
        (heapq.heappush if len(sample) < SNR_SAMPLE_SIZE else heapq.heappushpop)(sample, entry)
    for session, snr_db in _measure_snr(lake, day, {segment: session for _, segment, session in sample}):
        add("snr_db", session, 1.0, snr_db)
    return DailyInputs(
        inputs=inputs,
        sums={name: _sum_pairs((x, y) for x, y in by_session.values()) for name, by_session in sorted(pairs.items())},
    )


def _find_speaker_name(speakers: SpeakerMap, session: str, label: str | None) -> str | None:
    """Return the canonical name of the speaker in a snapshot; None for a label that is local to its session."""
    if label is None:
        return None
    person = speakers.find_person(session, label)
    if person is not None:
        return canonical_name(person.name)
    return None if is_local_speaker_label(session, label) else canonical_name(label)


def _measure_snr(lake: Lake, day: PublishedDay, sample: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yield session and signal-to-noise ratio of the sampled segments; reads only their row groups."""
    for found in find_rows(lake, day.parquet, "segment_id", sample.__contains__, ["segment_id", "audio"]):
        for row in found.rows.to_pylist():
            snr_db = estimate_snr_db(decode_flac(row["audio"]))
            if snr_db is not None:
                yield sample[row["segment_id"]], snr_db


def _sum_pairs(pairs: Iterable[tuple[float, float]]) -> RatioSums:
    x, y = np.array([each for each in pairs if each[0] > 0], dtype=np.float64).reshape(-1, 2).T
    return RatioSums(units=len(x), x=x.sum(), y=y.sum(), xx=(x * x).sum(), xy=(x * y).sum(), yy=(y * y).sum())
