"""Lessons of the synthetic classroom, written to disk as Habla and its users would have written them."""

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
    """Which lessons are recorded.

    Attributes:
        first_day: Day of the first lessons; weekends are skipped.
        days: School days.
        sessions_per_day: Lessons a day, at most ten.
        segments_per_session: Sentences a lesson.
        seed: Of what is said, by whom and how loudly; the people are another seed's.
        visit_days: On so many of the first days, visitors sit in the class's place in the last lesson but one.
        has_faulty_sessions: Whether the folder also gets everything that goes wrong in a real one.
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
            raise ValueError(f"sessions_per_day is {self.sessions_per_day}; take 1 to {len(_LESSON_HOURS)}.")
        if self.days < 1 or self.segments_per_session < 1:
            raise ValueError(f"days is {self.days}, segments {self.segments_per_session}; both start at 1.")


def write_sessions(
    folder: Path, plan: ClassroomPlan, seed: int, alignments: Path | None = None, turns: Path | None = None
) -> tuple[Path, ...]:
    """Write the lessons of a plan into Habla's recordings folder.

    Args:
        folder: The recordings folder; made when missing. Sessions already there are left alone.
        plan: Which lessons.
        seed: Of the people and the room: the same seed gives the same voices in every batch.
        alignments: CSV that gets the place of each word, by the sound's sha256, as if a person had marked it; of the
            sentences in which no two words merged.
        turns: Folder that gets `<session>.rttm`, as if a person had marked who speaks when.

    Returns:
        The folders of the finished and corrected Spanish sessions, in order of time (awkward ones not included).

    Raises:
        FileExistsError: A session of the same name is there already.
    """
    classroom = make_andalusian_classroom(seed)
    written = []
    placed: dict[str, tuple[RecognisedWord, ...]] = {}
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
            said = [each.utterance for each in session.segments]
            placed.update((pcm_sha256(each.pcm), each.words) for each in said if each.words)
            if turns is not None:
                turns.mkdir(parents=True, exist_ok=True)
                write_rttm(
                    turns / f"{session.folder_name}.rttm", session.folder_name, _list_speaker_turns(session)
                )
    if alignments is not None:
        write_alignments(alignments, placed)
    if plan.has_faulty_sessions:
        _write_faulty_sessions(folder, classroom, plan, np.random.default_rng([seed, plan.seed, 9_999]))
    return tuple(written)


def write_speaker_map(path: Path, seed: int, *, with_children: bool) -> None:
    """Write a speaker map of the teacher, or of everybody whose name is typed."""
    room = make_andalusian_classroom(seed)
    enrolled = (room.teacher, *room.students, *room.visitors) if with_children else (room.teacher,)
    people = [{"name": each.name, "role": each.register.value, "labels": [each.name]} for each in enrolled]
    path.write_text(yaml.safe_dump({"people": people}, allow_unicode=True, sort_keys=False), encoding="utf-8")


def write_castilian_set(folder: Path, n_clips: int, seed: int) -> Path:
    """Write an out-of-domain set: the classroom's people speaking standard Spanish, at normal loudness.

    Args:
        folder: Gets ``audio/*.wav`` and ``fine_tune_dataset.csv`` with paths relative to itself.
        n_clips: How many.
        seed: Of people and sentences.

    Returns:
        The table.
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
            said = synthesize_utterance(speaker, classroom.room, rng, quiet=False)
            path = Path("audio") / f"castilian_{number:04d}.wav"
            write_wav(folder / path, said.pcm)
            duration = f"{said.duration_s:.3f}"
            rows.writerow([path.as_posix(), said.text, duration, speaker.name, "standard Spanish, read"])
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
    """Who really spoke, in seconds from the start that the folder's name says: whole seconds of the clock."""
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
    # Whether the teacher typed names over Habla's own labels; she does where she does not know the voices.
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
        said = synthesize_utterance(speaker, classroom.room, rng)
        now += timedelta(seconds=said.duration_s + float(rng.gamma(2.0, 2.0)))
        segments.append(_make_segment(number, said, label, now, rng))
    session_id = str(int(rng.integers(10_000, 99_999)))
    return HablaSession(session_id, started_at, now + timedelta(seconds=5), "es_to_en", tuple(segments))


def _make_segment(
    number: int, said: SpokenUtterance, label: str, at: datetime, rng: np.random.Generator
) -> HablaSegment:
    error_rate = 0.6 if said.quiet else 0.3
    machine_text = simulate_recognition_errors(said.text, error_rate * 0.7, rng)
    human_text: str | None = None
    if rng.random() < _REVIEWED_SHARE:
        human_text = "[inaudible]" if rng.random() < _INAUDIBLE_SHARE else said.text
    rejected = said.quiet and rng.random() < 0.6
    return HablaSegment(
        number=number,
        socket_id=number,
        utterance=said,
        label=label,
        recorded_at=at,
        live_text=None if rejected else simulate_recognition_errors(said.text, error_rate, rng),
        machine_text=machine_text,
        human_text=human_text,
        probability=float(np.clip(rng.normal(0.45 if said.quiet else 0.8, 0.1), 0.05, 0.99)),
    )


def _write_faulty_sessions(
    folder: Path, classroom: SyntheticClassroom, plan: ClassroomPlan, rng: np.random.Generator
) -> None:
    """One folder for each thing that goes wrong: see the names of the local functions below."""
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
    """Still running: segments, no metadata, touched just now."""
    write_recording(session, folder)


def _write_crashed_session(session: HablaSession, folder: Path) -> None:
    """Habla died during the lesson: no metadata, and nothing has touched the folder since; corrected later."""
    recording = write_recording(session, folder)
    write_corrections(session, recording)
    long_ago = min(session.ended_at.timestamp(), time.time() - 86_400)
    for path in (*recording.iterdir(), recording):
        os.utime(path, (long_ago, long_ago))


def _write_truncated_session(session: HablaSession, folder: Path) -> None:
    """The disk was full: a WAV shorter than its header says, and metadata names a file that never came."""
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
    """Recording was switched on in mid-session: the socket counts ahead, and live texts sit on the next entry."""
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
    """Nobody has listened yet: machine text only."""
    recording = write_recording(session, folder)
    write_metadata(session, recording)
    write_ground_truth(session, recording)


def _write_english_session(
    session: HablaSession, classroom: SyntheticClassroom, folder: Path, rng: np.random.Generator
) -> None:
    """An English lesson, translated the other way: not corpus material."""
    voice = replace(classroom.teacher.voice, language="en")
    segments = []
    for segment, text in zip(session.segments, _ENGLISH_SENTENCES * len(session.segments), strict=False):
        pcm = simulate_recording(
            synthesize_speech(text_to_phonemes(text, "en"), voice), NORMAL_DBFS, classroom.room, rng
        )
        said = SpokenUtterance(text, classroom.teacher, False, pcm)
        segments.append(replace(segment, utterance=said, live_text=text, machine_text=text, human_text=None))
    session = replace(session, direction="en_to_es", segments=tuple(segments))
    recording = write_recording(session, folder)
    write_metadata(session, recording)
    write_ground_truth(session, recording)
