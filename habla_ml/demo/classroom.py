"""Write lessons of the synthetic classroom in the format of Habla and its correction page."""

import csv
import os
import time
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import yaml

from habla_ml.audio import pcm_sha256
from habla_ml.demo.acoustics import simulate_recording
from habla_ml.demo.habla_files import (
    HablaSegment,
    HablaSession,
    write_corrections,
    write_ground_truth,
    write_metadata,
    write_recording,
    write_wav,
)
from habla_ml.demo.recognition_errors import simulate_recognition_errors
from habla_ml.demo.speech_synthesis import synthesize_speech, text_to_phonemes
from habla_ml.demo.synthetic_speakers import (
    CASTILIAN,
    NORMAL_DBFS,
    SpokenUtterance,
    SyntheticClassroom,
    SyntheticSpeaker,
    make_andalusian_classroom,
    synthesize_utterance,
)
from habla_ml.evaluation.metrics.alignments import write_alignments
from habla_ml.evaluation.metrics.diarisation import SpeakerTurn, write_rttm
from habla_ml.transcription.engine import RecognisedWord

_REVIEWED_SHARE = 0.85
_INAUDIBLE_SHARE = 0.02
_TEACHER_SHARE = 0.4
_LESSON_HOURS = (8.25, 9.25, 10.25, 11.75, 12.75, 13.75, 16.0, 17.0, 18.0, 19.0)
_ENGLISH_SENTENCES = (
    "Good morning everybody, please sit down.",
    "Can you tell me what the weather is like today?",
    "Open your books at page forty two.",
    "My brother likes playing football after school.",
)


@dataclass(frozen=True)
class ClassroomPlan:
    """Which lessons to record.

    Attributes:
        first_day: Day of the first lessons; weekends are skipped.
        days: Number of school days.
        sessions_per_day: Lessons per day, at most ten.
        segments_per_session: Sentences per lesson.
        seed: Seed of sentences, speakers and loudness. Another seed creates the people.
        visit_days: Number of first days on which visitors replace the class in the last lesson but one.
        has_faulty_sessions: Whether to add one session for each fault of a real folder.
    """

    first_day: date
    days: int
    sessions_per_day: int
    segments_per_session: int
    seed: int
    visit_days: int = 0
    has_faulty_sessions: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.sessions_per_day <= len(_LESSON_HOURS):
            raise ValueError(f"sessions_per_day is {self.sessions_per_day}; use 1 to {len(_LESSON_HOURS)}.")
        if self.days < 1 or self.segments_per_session < 1:
            raise ValueError(
                f"days is {self.days}, segments_per_session is {self.segments_per_session}; use at least 1."
            )


def write_sessions(
    folder: Path, plan: ClassroomPlan, seed: int, alignments: Path | None = None, turns: Path | None = None
) -> tuple[Path, ...]:
    """Write the lessons of a plan into Habla's recordings folder.

    Args:
        folder: Recordings folder, created when missing. Existing sessions stay.
        plan: Which lessons to write.
        seed: Seed of the people and the acoustics. The same seed gives the same voices in every batch.
        alignments: CSV for the times of each word by sha256 of the audio, like a manual alignment. Sentences with
            merged words are left out.
        turns: Folder for `<session>.rttm`, like a manual annotation of speaker turns.

    Returns:
        Folders of the finished and corrected Spanish sessions in order of time, without the faulty ones.

    Raises:
        FileExistsError: A session of the same name exists.
    """
    classroom = make_andalusian_classroom(seed)
    written = []
    words_by_audio: dict[str, tuple[RecognisedWord, ...]] = {}
    for day_number, day in enumerate(_list_school_days(plan.first_day, plan.days)):
        for lesson in range(plan.sessions_per_day):
            rng = np.random.default_rng([seed, plan.seed, day_number, lesson])
            is_visit = day_number < plan.visit_days and lesson == max(0, plan.sessions_per_day - 2)
            session = _make_lesson(
                classroom, _draw_start_time(day, lesson, rng), plan.segments_per_session, rng, is_visit
            )
            recording = write_recording(session, folder)
            write_metadata(session, recording)
            write_ground_truth(session, recording)
            write_corrections(session, recording)
            written.append(recording)
            utterances = [each.utterance for each in session.segments]
            words_by_audio.update((pcm_sha256(each.pcm), each.words) for each in utterances if each.words)
            if turns is not None:
                turns.mkdir(parents=True, exist_ok=True)
                write_rttm(turns / f"{session.folder_name}.rttm", session.folder_name, _list_speaker_turns(session))
    if alignments is not None:
        write_alignments(alignments, words_by_audio)
    if plan.has_faulty_sessions:
        _write_faulty_sessions(folder, classroom, plan, np.random.default_rng([seed, plan.seed, 9_999]))
    return tuple(written)


def write_speaker_map(path: Path, seed: int, *, with_children: bool) -> None:
    """Write a speaker map of the teacher, or of the teacher and all children."""
    classroom = make_andalusian_classroom(seed)
    children = (*classroom.students, *classroom.visitors) if with_children else ()
    enrolled = (classroom.teacher, *children)
    people = [{"name": each.name, "role": each.register.value, "labels": [each.name]} for each in enrolled]
    path.write_text(yaml.safe_dump({"people": people}, allow_unicode=True, sort_keys=False), encoding="utf-8")


def write_castilian_set(folder: Path, n_clips: int, seed: int) -> Path:
    """Write an out-of-domain set: the same people read standard Spanish at normal loudness.

    Args:
        folder: Receives ``audio/*.wav`` and ``fine_tune_dataset.csv`` with relative paths.
        n_clips: Number of clips.
        seed: Seed of people and sentences.

    Returns:
        Path of the table.
    """
    classroom = make_andalusian_classroom(seed)
    rng = np.random.default_rng([seed, 200])
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    table = folder / "fine_tune_dataset.csv"
    with table.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["audio_path", "transcript", "duration", "speaker", "notes"])
        for number in range(n_clips):
            speaker = replace(_draw_speaker(classroom, rng), dialect=CASTILIAN)
            utterance = synthesize_utterance(speaker, classroom.room, rng, quiet=False)
            path = Path("audio") / f"castilian_{number:04d}.wav"
            write_wav(folder / path, utterance.pcm)
            duration = f"{utterance.duration_s:.3f}"
            rows.writerow([path.as_posix(), utterance.text, duration, speaker.name, "standard Spanish, read"])
    return table


def _list_school_days(first_day: date, n_days: int) -> list[date]:
    days: list[date] = []
    day = first_day
    while len(days) < n_days:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return days


def _draw_start_time(day: date, lesson: int, rng: np.random.Generator) -> datetime:
    midnight = datetime(day.year, day.month, day.day)
    offset = timedelta(hours=_LESSON_HOURS[lesson], seconds=int(rng.integers(0, 600)))
    return midnight + offset + timedelta(microseconds=int(rng.integers(1, 1_000_000)))


def _draw_speaker(classroom: SyntheticClassroom, rng: np.random.Generator) -> SyntheticSpeaker:
    if rng.random() < _TEACHER_SHARE:
        return classroom.teacher
    return classroom.students[int(rng.integers(len(classroom.students)))]


def _list_speaker_turns(session: HablaSession) -> list[SpeakerTurn]:
    """Return the true speaker turns, in seconds from the whole second in the folder's name."""
    start = session.started_at.replace(microsecond=0)
    turns = []
    for each in session.segments:
        end_s = (each.recorded_at - start).total_seconds()
        turns.append(SpeakerTurn(end_s - each.utterance.duration_s, end_s, each.utterance.speaker.name))
    return turns


def _make_lesson(
    classroom: SyntheticClassroom,
    started_at: datetime,
    n_segments: int,
    rng: np.random.Generator,
    is_visit: bool = False,
) -> HablaSession:
    # The teacher replaces Habla's labels with names in 70 % of the lessons, and in every lesson with visitors.
    named = rng.random() < 0.7 or is_visit
    students = classroom.visitors if is_visit else classroom.students
    present = rng.permutation(np.arange(len(students)))[:6]
    labels: dict[str, str] = {}
    segments = []
    now = started_at
    for number in range(1, n_segments + 1):
        speaker = _draw_speaker(classroom, rng)
        if speaker is not classroom.teacher:
            speaker = students[int(present[int(rng.integers(len(present)))])]
        label = labels.setdefault(speaker.name, speaker.name if named else f"SPEAKER_{len(labels):02d}")
        utterance = synthesize_utterance(speaker, classroom.room, rng)
        now += timedelta(seconds=utterance.duration_s + float(rng.gamma(2.0, 2.0)))
        segments.append(_make_segment(number, utterance, label, now, rng))
    session_id = str(int(rng.integers(10_000, 99_999)))
    return HablaSession(session_id, started_at, now + timedelta(seconds=5), "es_to_en", tuple(segments))


def _make_segment(
    number: int, utterance: SpokenUtterance, label: str, at: datetime, rng: np.random.Generator
) -> HablaSegment:
    error_rate = 0.6 if utterance.quiet else 0.3
    machine_text = simulate_recognition_errors(utterance.text, error_rate * 0.7, rng)
    human_text: str | None = None
    if rng.random() < _REVIEWED_SHARE:
        human_text = "[inaudible]" if rng.random() < _INAUDIBLE_SHARE else utterance.text
    rejected = utterance.quiet and rng.random() < 0.6
    return HablaSegment(
        number=number,
        socket_id=number,
        utterance=utterance,
        label=label,
        recorded_at=at,
        live_text=None if rejected else simulate_recognition_errors(utterance.text, error_rate, rng),
        machine_text=machine_text,
        human_text=human_text,
        probability=float(np.clip(rng.normal(0.45 if utterance.quiet else 0.8, 0.1), 0.05, 0.99)),
    )


def _write_faulty_sessions(
    folder: Path, classroom: SyntheticClassroom, plan: ClassroomPlan, rng: np.random.Generator
) -> None:
    """Write one session for each fault of a real folder, and an empty folder."""
    day = _list_school_days(plan.first_day, plan.days)[-1]
    started = iter(datetime(day.year, day.month, day.day, 20) + timedelta(minutes=5 * i) for i in range(7))

    def session() -> HablaSession:
        return _make_lesson(classroom, next(started), plan.segments_per_session, rng)

    _write_running_session(session(), folder)
    _write_crashed_session(session(), folder)
    _write_truncated_session(session(), folder)
    _write_shifted_counters(session(), folder)
    _write_uncorrected_session(session(), folder)
    _write_english_session(session(), classroom, folder, rng)
    (folder / f"{rng.integers(10_000, 99_999)}_{next(started):%Y%m%d_%H%M%S}").mkdir()


def _write_running_session(session: HablaSession, folder: Path) -> None:
    """Write a running session: segments without metadata, modified just now."""
    write_recording(session, folder)


def _write_crashed_session(session: HablaSession, folder: Path) -> None:
    """Write a crashed session: no metadata, old modification times, corrected later."""
    recording = write_recording(session, folder)
    write_corrections(session, recording)
    long_ago = min(session.ended_at.timestamp(), time.time() - 86_400)
    for path in (*recording.iterdir(), recording):
        os.utime(path, (long_ago, long_ago))


def _write_truncated_session(session: HablaSession, folder: Path) -> None:
    """Write the result of a full disk: a WAV shorter than its header, and metadata with a missing file."""
    missing = replace(session.segments[-1], number=len(session.segments) + 1, human_text=None)
    session = replace(session, segments=(*session.segments, missing))
    recording = write_recording(session, folder)
    write_metadata(session, recording)
    write_ground_truth(session, recording)
    write_corrections(session, recording)
    (recording / missing.filename).unlink()
    cut = recording / session.segments[0].filename
    with cut.open("r+b") as wav:
        wav.truncate(cut.stat().st_size * 6 // 10 // 2 * 2 + 1)


def _write_shifted_counters(session: HablaSession, folder: Path) -> None:
    """Write a recording that began in mid-session: socket counters are ahead, live texts belong to the entry before."""
    texts = [segment.live_text for segment in session.segments]
    shifted = tuple(
        replace(segment, socket_id=segment.socket_id + 3, live_text=text)
        for segment, text in zip(session.segments, [None, *texts[:-1]], strict=True)
    )
    session = replace(session, segments=shifted)
    recording = write_recording(session, folder)
    write_metadata(session, recording)
    write_ground_truth(session, recording)
    write_corrections(session, recording)


def _write_uncorrected_session(session: HablaSession, folder: Path) -> None:
    """Write a session with machine text only."""
    recording = write_recording(session, folder)
    write_metadata(session, recording)
    write_ground_truth(session, recording)


def _write_english_session(
    session: HablaSession, classroom: SyntheticClassroom, folder: Path, rng: np.random.Generator
) -> None:
    """Write an English lesson with the opposite direction of translation, which is no corpus material."""
    voice = replace(classroom.teacher.voice, language="en")
    segments = []
    for segment, text in zip(session.segments, _ENGLISH_SENTENCES * len(session.segments), strict=False):
        pcm = simulate_recording(
            synthesize_speech(text_to_phonemes(text, "en"), voice), NORMAL_DBFS, classroom.room, rng
        )
        utterance = SpokenUtterance(text, classroom.teacher, False, pcm)
        segments.append(replace(segment, utterance=utterance, live_text=text, machine_text=text, human_text=None))
    session = replace(session, direction="en_to_es", segments=tuple(segments))
    recording = write_recording(session, folder)
    write_metadata(session, recording)
    write_ground_truth(session, recording)
