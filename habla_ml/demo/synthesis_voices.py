"""espeak voices for adults and children; none imitates a real person."""

import numpy as np

from habla_ml.demo.speech_synthesis import SynthesisVoice

ADULT_VARIANTS = ("", "m1", "m3", "m4", "m7", "Mario", "f1", "f2", "Andrea")
CHILD_VARIANTS = ("m2", "m5", "m6", "m8", "f3", "f4", "f5", "f1", "f2", "m1", "Alicia", "Diogo")


def draw_adult_voice(rng: np.random.Generator) -> SynthesisVoice:
    """Draw a voice for a teacher."""
    return SynthesisVoice(
        variant=ADULT_VARIANTS[int(rng.integers(len(ADULT_VARIANTS)))],
        rate_wpm=int(rng.integers(145, 195)),
        pitch=int(rng.integers(25, 60)),
        pitch_range=int(rng.integers(35, 75)),
    )


def draw_child_voice(rng: np.random.Generator) -> SynthesisVoice:
    """Draw a voice for a student: higher, with more intonation, often faster."""
    return SynthesisVoice(
        variant=CHILD_VARIANTS[int(rng.integers(len(CHILD_VARIANTS)))],
        rate_wpm=int(rng.integers(150, 210)),
        pitch=int(rng.integers(45, 90)),
        pitch_range=int(rng.integers(40, 85)),
    )
