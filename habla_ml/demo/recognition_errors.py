"""Plausible recognition errors on Andalusian speech, for the machine transcripts of the demo."""

import numpy as np

_CONFUSIONS = {
    "para": "pa",
    "todo": "too",
    "nada": "na",
    "gracias": "grasia",
    "después": "depué",
    "maestra": "maetra",
    "verdad": "verdá",
    "mucho": "musho",
    "profe": "profesor",
}


def simulate_recognition_errors(text: str, error_rate: float, rng: np.random.Generator) -> str:
    """Corrupt a share of the words: drop a final s or d; drop, double, split or replace a word.

    Args:
        text: The true transcript.
        error_rate: Share of words to corrupt, 0 to 1.
        rng: Random generator.

    Returns:
        The corrupted text, empty only for an empty text.
    """
    corrupted: list[str] = []
    for word in text.split():
        corrupted.extend(_corrupt_word(word, rng) if rng.random() < error_rate else (word,))
    return " ".join(corrupted) or text


def _corrupt_word(word: str, rng: np.random.Generator) -> tuple[str, ...]:
    bare = word.strip("¿?¡!,.").lower()
    if bare in _CONFUSIONS:
        return (_CONFUSIONS[bare],)
    if bare.endswith(("s", "d", "z")) and len(bare) > 2:
        return (word.rstrip(".,!?")[:-1],)
    if bare.endswith("ado"):
        return (word.rstrip(".,!?")[:-2] + "o",)
    kind = int(rng.integers(4))
    if kind == 0:
        return ()
    if kind == 1:
        return (word, bare)
    if kind == 2 and len(bare) > 4:
        return (bare[:2], bare[2:])
    return ("que",)
