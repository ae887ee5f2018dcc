"""The diarisation error rate, computed by pyannote.metrics.

Reference and hypothesis are speaker turns, from RTTM files or from labelled segments (`speaker_turns`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from habla_ml.delimited.encoding import read_text_lines
from habla_ml.errors import EvaluationError, InputError
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Interval, to_interval

if TYPE_CHECKING:
    from pyannote.core import Annotation

MAX_DIARISATION_RATE: Final = 0.20
"""The acceptable error rate."""


@dataclass(frozen=True)
class SpeakerTurn:
    """Speech of one speaker without a pause; times in seconds from the start of the recording."""

    start_s: float
    end_s: float
    speaker: str


class RecordingDiarisation(EvaluationRecord):
    """The errors of one recording, in seconds of speech."""

    recording: str
    speech_s: float
    """Reference speech; overlapping speech of two people counts twice."""
    missed_s: float
    false_alarm_s: float
    confusion_s: float


class DiarisationScore(EvaluationRecord):
    """The diarisation error rate: missed, false and confused speech over the reference speech."""

    recordings: tuple[RecordingDiarisation, ...]
    collar_s: float
    """Seconds around each reference boundary that are not scored, half on each side."""
    is_overlap_scored: bool
    rate: Interval | None
    """With a 95 % interval over recordings; None without reference speech. Can exceed 1."""


def score_diarisation(
    reference: Mapping[str, Sequence[SpeakerTurn]],
    hypothesis: Mapping[str, Sequence[SpeakerTurn]],
    draws: int,
    seed: int,
) -> DiarisationScore:
    """Score every recording of the reference, without a collar and with overlapping speech.

    Speakers are matched one to one so that the errors are fewest. A recording without a hypothesis is missed speech;
    one without a reference is ignored.

    Args:
        reference: Recording → its true turns.
        hypothesis: Recording → the turns to score.
        draws: Bootstrap draws of recordings.
        seed: Of the draws.

    Raises:
        EvaluationError: pyannote.metrics is not installed.
    """
    try:
        from pyannote.metrics.diarization import DiarizationErrorRate
    except ImportError as error:
        raise EvaluationError(
            "the diarisation error rate needs pyannote.metrics; run pip install 'habla-ml[diarisation]'"
        ) from error
    metric = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    scored = tuple(
        _score_recording(name, reference[name], hypothesis.get(name, ()), metric) for name in sorted(reference)
    )
    speech_ms = np.array([round(1000 * each.speech_s) for each in scored], dtype=np.int64)
    wrong_ms = [round(1000 * (each.missed_s + each.false_alarm_s + each.confusion_s)) for each in scored]
    table = Counts(speech_ms, np.array(wrong_ms, dtype=np.int64)[:, None])
    (resample,) = Draws.of([each.recording for each in scored], draws, seed).resample([table])
    return DiarisationScore(recordings=scored, collar_s=0.0, is_overlap_scored=True, rate=to_interval(resample.rate(0)))


def read_rttm(path: Path) -> dict[str, tuple[SpeakerTurn, ...]]:
    """Read the SPEAKER lines of an RTTM file (NIST RT-09); return recording → turns.

    Raises:
        InputError: A SPEAKER line is invalid.
    """
    turns: dict[str, list[SpeakerTurn]] = {}
    for number, line in enumerate(read_text_lines(path), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            recording, start_s, length_s, speaker = fields[1], float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError):
            raise InputError(
                f"{path}, line {number} is no SPEAKER line of RTTM: {line[:80]!r}; expected SPEAKER <recording> "
                "<channel> <start> <duration> <NA> <NA> <speaker>"
            ) from None
        if not (0 <= start_s < math.inf and 0 < length_s < math.inf):
            raise InputError(
                f"{path}, line {number} starts at {start_s:g} s and lasts {length_s:g} s; write a start of 0 or more and a "
                "duration above 0, in seconds"
            )
        turns.setdefault(recording, []).append(SpeakerTurn(start_s, start_s + length_s, speaker))
    return {recording: tuple(found) for recording, found in turns.items()}


def write_rttm(path: Path, recording: str, turns: Sequence[SpeakerTurn]) -> None:
    """Write SPEAKER lines that `read_rttm` reads; names of speakers must have no spaces."""
    lines = [
        f"SPEAKER {recording} 1 {each.start_s:.3f} {each.end_s - each.start_s:.3f} <NA> <NA> {each.speaker} <NA> <NA>\n"
        for each in turns
    ]
    path.write_text("".join(lines), encoding="utf-8")


def _score_recording(
    name: str, reference: Sequence[SpeakerTurn], hypothesis: Sequence[SpeakerTurn], metric: Any
) -> RecordingDiarisation:
    from pyannote.core import Segment, Timeline

    end_s = max((each.end_s for each in (*reference, *hypothesis)), default=0.0)
    evaluated = Timeline([Segment(0.0, end_s)])
    parts = metric(_to_annotation(reference), _to_annotation(hypothesis), uem=evaluated, detailed=True)
    return RecordingDiarisation(
        recording=name,
        speech_s=float(parts["total"]),
        missed_s=float(parts["missed detection"]),
        false_alarm_s=float(parts["false alarm"]),
        confusion_s=float(parts["confusion"]),
    )


def _to_annotation(turns: Sequence[SpeakerTurn]) -> Annotation:
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for track, turn in enumerate(turns):
        annotation[Segment(turn.start_s, turn.end_s), track] = turn.speaker
    return annotation
