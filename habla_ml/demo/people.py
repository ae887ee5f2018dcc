"""The world of the demo: a teacher, twenty students and four visitors who speak Andalusian, in one room."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from habla_ml.demo.acoustics import Room, record_timed
from habla_ml.demo.grammar import Register, sentence
from habla_ml.demo.phonology import Dialect, andalusian, pronounce
from habla_ml.demo.speech import SAMPLE_RATE_HZ, Voice, phonemes, speak_timed
from habla_ml.demo.vocabulary import SLOTS
from habla_ml.demo.voices import adult_voice, child_voice
from habla_ml.transcription.engine import HeardWord

N_STUDENTS = 20
N_VISITORS = 4
NORMAL_DBFS = -21.0
QUIET_DBFS = -42.0

CASTILIAN = Dialect(())


@dataclass(frozen=True)
class Speaker:
    """Somebody in the classroom.

    Attributes:
        name: First name; the teacher is "Profe".
        register: Whether they speak as teacher or student.
        voice: How they sound.
        dialect: How Andalusian they are.
        quiet_share: How often they speak too quietly for the microphone, 0 to 1.
    """

    name: str
    register: Register
    voice: Voice
    dialect: Dialect
    quiet_share: float


@dataclass(frozen=True)
class Classroom:
    """A teacher, students and the room they sit in; now and then pupils of another school sit there instead."""

    teacher: Speaker
    students: tuple[Speaker, ...]
    visitors: tuple[Speaker, ...]
    room: Room


@dataclass(frozen=True)
class Utterance:
    """One sentence as somebody said it.

    Attributes:
        text: What was said, in standard spelling.
        speaker: Who said it.
        quiet: Whether it reached the microphone too quietly.
        pcm: 16 kHz mono 16-bit samples.
        words: The words with their places; empty where two of them merged into one sound ("para ahora" → "paora").
    """

    text: str
    speaker: Speaker
    quiet: bool
    pcm: NDArray[np.int16]
    words: tuple[HeardWord, ...] = ()

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.pcm) / SAMPLE_RATE_HZ


def andalusian_classroom(seed: int) -> Classroom:
    """The same people in the same room for the same seed."""
    rng = np.random.default_rng([seed, 100])
    names = [str(name) for name in rng.permutation(np.array(SLOTS["name"]))]
    students = tuple(_child(name, rng) for name in names[:N_STUDENTS])
    teacher = Speaker("Profe", Register.TEACHER, adult_voice(rng), andalusian(0.9, rng), quiet_share=0.05)
    others = np.random.default_rng([seed, 101])
    visitors = tuple(_child(name, others) for name in names[N_STUDENTS : N_STUDENTS + N_VISITORS])
    return Classroom(teacher, students, visitors, Room(-58.0, 0.45, 7.0))


def _child(name: str, rng: np.random.Generator) -> Speaker:
    return Speaker(
        name=name,
        register=Register.STUDENT,
        voice=child_voice(rng),
        dialect=andalusian(float(rng.uniform(0.85, 1.0)), rng),
        quiet_share=float(rng.choice([0.05, 0.2, 0.6], p=[0.4, 0.35, 0.25])),
    )


def say_something(
    speaker: Speaker, room: Room, rng: np.random.Generator, *, quiet: bool | None = None
) -> Utterance:
    """One utterance of a speaker, quiet as often as they are unless told."""
    text = sentence(speaker.register, rng)
    is_quiet = bool(rng.random() < speaker.quiet_share) if quiet is None else quiet
    spoken = pronounce(phonemes(text), speaker.dialect, rng)
    dry = speak_timed(spoken, speaker.voice, question="?" in text)
    loudness_dbfs = float(rng.normal(QUIET_DBFS if is_quiet else NORMAL_DBFS, 2.0))
    recording = record_timed(dry.samples, loudness_dbfs, room, rng)
    return Utterance(text, speaker, is_quiet, recording.pcm, _placed(text, dry.words_s, recording.lead_s))


def _placed(text: str, words_s: tuple[tuple[float, float], ...], lead_s: float) -> tuple[HeardWord, ...]:
    words = text.split()
    if len(words) != len(words_s):
        return ()
    return tuple(
        HeardWord(word, lead_s + start_s, lead_s + end_s)
        for word, (start_s, end_s) in zip(words, words_s, strict=True)
    )
