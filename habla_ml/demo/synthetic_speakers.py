"""Speakers of the demo: a teacher, twenty students and four visitors, all Andalusian."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from habla_ml.demo.acoustics import RoomAcoustics, simulate_timed_recording
from habla_ml.demo.grammar import SpeechRegister, generate_sentence
from habla_ml.demo.phonology import Dialect, apply_dialect, draw_andalusian_dialect
from habla_ml.demo.speech_synthesis import (
    SAMPLE_RATE_HZ,
    SynthesisVoice,
    synthesize_timed_speech,
    text_to_phonemes,
)
from habla_ml.demo.synthesis_voices import draw_adult_voice, draw_child_voice
from habla_ml.demo.vocabulary import SLOTS
from habla_ml.transcription.engine import RecognisedWord

N_STUDENTS = 20
N_VISITORS = 4
NORMAL_DBFS = -21.0
QUIET_DBFS = -42.0

CASTILIAN = Dialect(())


@dataclass(frozen=True)
class SyntheticSpeaker:
    """A person in the classroom.

    Attributes:
        name: First name; "Profe" for the teacher.
        register: Teacher or student.
        voice: Synthesis voice.
        dialect: Probabilities of Andalusian features.
        quiet_share: Share of utterances that are too quiet for the microphone, 0 to 1.
    """

    name: str
    register: SpeechRegister
    voice: SynthesisVoice
    dialect: Dialect
    quiet_share: float


@dataclass(frozen=True)
class SyntheticClassroom:
    """A teacher, students, and visitors from another school, with the acoustics of the classroom."""

    teacher: SyntheticSpeaker
    students: tuple[SyntheticSpeaker, ...]
    visitors: tuple[SyntheticSpeaker, ...]
    room: RoomAcoustics


@dataclass(frozen=True)
class SpokenUtterance:
    """One synthesised sentence.

    Attributes:
        text: Transcript in standard spelling.
        speaker: The speaker.
        quiet: Whether it is too quiet for the microphone.
        pcm: 16 kHz mono 16-bit samples.
        words: Words with times; empty where two words merged ("para ahora" → "paora").
    """

    text: str
    speaker: SyntheticSpeaker
    quiet: bool
    pcm: NDArray[np.int16]
    words: tuple[RecognisedWord, ...] = ()

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return len(self.pcm) / SAMPLE_RATE_HZ


def make_andalusian_classroom(seed: int) -> SyntheticClassroom:
    """Create the classroom of a seed; the same seed gives the same people and acoustics."""
    rng = np.random.default_rng([seed, 100])
    names = [str(name) for name in rng.permutation(np.array(SLOTS["name"]))]
    students = tuple(_make_student(name, rng) for name in names[:N_STUDENTS])
    teacher = SyntheticSpeaker(
        "Profe", SpeechRegister.TEACHER, draw_adult_voice(rng), draw_andalusian_dialect(0.9, rng), quiet_share=0.05
    )
    others = np.random.default_rng([seed, 101])
    visitors = tuple(_make_student(name, others) for name in names[N_STUDENTS : N_STUDENTS + N_VISITORS])
    return SyntheticClassroom(teacher, students, visitors, RoomAcoustics(-58.0, 0.45, 7.0))


def _make_student(name: str, rng: np.random.Generator) -> SyntheticSpeaker:
    return SyntheticSpeaker(
        name=name,
        register=SpeechRegister.STUDENT,
        voice=draw_child_voice(rng),
        dialect=draw_andalusian_dialect(float(rng.uniform(0.85, 1.0)), rng),
        quiet_share=float(rng.choice([0.05, 0.2, 0.6], p=[0.4, 0.35, 0.25])),
    )


def synthesize_utterance(
    speaker: SyntheticSpeaker, room: RoomAcoustics, rng: np.random.Generator, *, quiet: bool | None = None
) -> SpokenUtterance:
    """Synthesise one utterance; without `quiet`, the speaker's share of quiet utterances decides."""
    text = generate_sentence(speaker.register, rng)
    is_quiet = bool(rng.random() < speaker.quiet_share) if quiet is None else quiet
    spoken = apply_dialect(text_to_phonemes(text), speaker.dialect, rng)
    dry = synthesize_timed_speech(spoken, speaker.voice, question="?" in text)
    loudness_dbfs = float(rng.normal(QUIET_DBFS if is_quiet else NORMAL_DBFS, 2.0))
    recording = simulate_timed_recording(dry.samples, loudness_dbfs, room, rng)
    return SpokenUtterance(
        text, speaker, is_quiet, recording.pcm, _align_words(text, dry.words_s, recording.speech_start_s)
    )


def _align_words(
    text: str, words_s: tuple[tuple[float, float], ...], speech_start_s: float
) -> tuple[RecognisedWord, ...]:
    words = text.split()
    if len(words) != len(words_s):
        return ()
    return tuple(
        RecognisedWord(word, speech_start_s + start_s, speech_start_s + end_s)
        for word, (start_s, end_s) in zip(words, words_s, strict=True)
    )
