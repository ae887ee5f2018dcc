"""Spanish speech from libespeak-ng: text to phonemes, phonemes to 16 kHz samples.

espeak-ng keeps state between utterances (flutter, noise), which would change the sound of the same words. Every call
therefore loads the library (0.5 ms) and unloads it, so that the result depends on the arguments alone. There is one
library per process; a lock admits one caller at a time.
"""

import _ctypes
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import espeakng_loader
import numpy as np
import soxr
from numpy.typing import NDArray

from habla_ml.errors import InputError

SAMPLE_RATE_HZ = 16_000

Samples = NDArray[np.float32]
"""Mono audio, full scale at ±1."""

Word = tuple[str, ...]
"""One word as espeak's phoneme mnemonics; a stress mark (' or ,) precedes its vowel."""

Clause = tuple[Word, ...]
"""The words between two pauses."""

_ESPEAK_RATE_HZ = 22_050
_ONE_LIBRARY_PER_PROCESS = threading.Lock()
_SYNCHRONOUS, _DO_NOT_EXIT, _PHONEME_EVENTS = 2, 0x8000, 1
_UTF8, _PHONEME_INPUT = 1, 0x100
_RATE, _PITCH, _RANGE = 1, 3, 4
_SILENCE_THRESHOLD = 0.004
_HEADROOM = 0.9  # resampling overshoots a full-scale peak by a few per cent
_VOICE_FILES = {"es": "roa/es", "en": "gmw/en"}

_LIST_END, _WORD_EVENT, _PHONEME_EVENT = 0, 1, 7
_PAUSE = b"_"


class _Event(ctypes.Structure):
    """The struct ``espeak_EVENT``: an event at a sample."""

    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("phoneme", ctypes.c_char * 8),
    ]


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class SynthesizedSpeech:
    """Speech and the times of its words.

    Attributes:
        samples: At 16 kHz, without silence before or after, peak below full scale.
        words_s: Start and end of each word, in seconds, in the order of the clauses' words.
    """

    samples: Samples
    words_s: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SynthesisVoice:
    """Parameters of an espeak voice.

    Attributes:
        variant: An espeak voice variant such as ``m3`` or ``f2``; empty for the plain Spanish voice.
        rate_wpm: Words per minute, 80 to 450.
        pitch: espeak's pitch, 0 to 99.
        pitch_range: espeak's range of intonation, 0 to 99.
        language: espeak's language, ``es`` or ``en``.
    """

    variant: str
    rate_wpm: int
    pitch: int
    pitch_range: int
    language: str = "es"

    def format_espeak_name(self) -> str:
        """Return espeak's name of this voice, with its folder to avoid a search."""
        path = _VOICE_FILES[self.language]
        return f"{path}+{self.variant}" if self.variant else path


def text_to_phonemes(text: str, language: str = "es") -> tuple[Clause, ...]:
    """Return the standard phonemes of a sentence (Castilian for Spanish), clause by clause."""
    with _open_espeak() as library:
        _choose_voice(library, _VOICE_FILES[language])
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rest = ctypes.c_char_p(text.encode())
        spoken: list[str] = []
        while rest.value is not None:
            clause = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, ord("|") << 8)
            spoken.append((clause or b"").decode())
    return tuple(parse_clause(clause) for clause in spoken if clause.strip())


def parse_clause(mnemonics: str) -> Clause:
    """Parse ``"l|o|s n|'i|n^|o|s"``: blanks divide words, bars divide phonemes."""
    words = (tuple(token for token in word.split("|") if token) for word in mnemonics.split())
    return tuple(word for word in words if word)


def write_clause(clause: Clause) -> str:
    """Write a clause in the notation that `parse_clause` reads."""
    return " ".join("|".join(word) for word in clause)


def synthesize_speech(clauses: tuple[Clause, ...], voice: SynthesisVoice, question: bool = False) -> Samples:
    """Speak phonemes at 16 kHz, without silence before or after, peak below full scale.

    Args:
        clauses: Phonemes; a short pause separates clauses.
        voice: The voice.
        question: Whether the intonation rises at the end.

    Raises:
        InputError: The voice variant does not exist, or the clauses have no sound.
    """
    return synthesize_timed_speech(clauses, voice, question).samples


def synthesize_timed_speech(
    clauses: tuple[Clause, ...], voice: SynthesisVoice, question: bool = False
) -> SynthesizedSpeech:
    """Synthesise speech as `synthesize_speech` does, and return the times of its words too.

    Raises:
        InputError: The voice variant does not exist, or the clauses have no sound.
    """
    end = "?" if question else "."
    text = ", ".join(f"[[{write_clause(clause)}]]" for clause in clauses) + end
    with _open_espeak() as library:
        _choose_voice(library, voice.format_espeak_name())
        for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        samples, words = _run_espeak(library, text)
    loud = np.flatnonzero(np.abs(samples) > _SILENCE_THRESHOLD)
    if loud.size == 0:
        raise InputError(f"espeak made no sound for {text!r}; give it at least one vowel.")
    first, last = int(loud[0]), int(loud[-1]) + 1
    resampled = soxr.resample(samples[first:last] * np.float32(_HEADROOM), _ESPEAK_RATE_HZ, SAMPLE_RATE_HZ)
    places = [(min(max(edge, first), last) - first) / _ESPEAK_RATE_HZ for word in words for edge in word]
    return SynthesizedSpeech(
        np.asarray(resampled, dtype=np.float32), tuple(zip(places[::2], places[1::2], strict=True))
    )


@contextmanager
def _open_espeak() -> Iterator[ctypes.CDLL]:
    with _ONE_LIBRARY_PER_PROCESS:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            rate_hz = library.espeak_Initialize(
                _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _DO_NOT_EXIT | _PHONEME_EVENTS
            )
            if rate_hz != _ESPEAK_RATE_HZ:
                raise InputError(
                    f"espeak-ng started with {rate_hz} Hz instead of {_ESPEAK_RATE_HZ}; reinstall espeakng-loader."
                )
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the default seed is the time of day
            yield library
            library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)


def _choose_voice(library: ctypes.CDLL, name: str) -> None:
    # espeak silently replaces an unknown variant by the plain voice.
    _, _, variant = name.partition("+")
    known = not variant or (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file()
    if not known or library.espeak_SetVoiceByName(name.encode()) != 0:
        raise InputError(f"espeak has no voice {name!r}; use a variant such as m1 to m8 or f1 to f5.")


def _run_espeak(library: ctypes.CDLL, text: str) -> tuple[Samples, list[tuple[int, int]]]:
    """Return the samples, and the first and last sample of each word, at espeak's rate."""
    blocks: list[NDArray[np.int16]] = []
    words: list[list[int]] = []

    def collect(block: "ctypes._Pointer[ctypes.c_short]", n_samples: int, events: "ctypes._Pointer[_Event]") -> int:
        if block and n_samples > 0:
            blocks.append(np.ctypeslib.as_array(block, (n_samples,)).astype(np.int16))
        for event in iter(events):
            if event.type == _LIST_END:
                break
            # A word ends at the next word or at the pause after a clause.
            begins_word = event.type == _WORD_EVENT
            is_pause = event.type == _PHONEME_EVENT and event.phoneme.startswith(_PAUSE)
            if (begins_word or is_pause) and words and len(words[-1]) == 1:
                words[-1].append(event.sample)
            if begins_word:
                words.append([event.sample])
        return 0

    callback = _SynthCallback(collect)  # must live until the synthesis ends
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, _UTF8 | _PHONEME_INPUT, None, None)
    if not blocks:
        return np.zeros(0, dtype=np.float32), []
    samples = np.concatenate(blocks).astype(np.float32) / 32768.0
    return samples, [(start, end[0] if end else len(samples)) for start, *end in words]
