"""What a recogniser makes of Andalusian speech: plausible mistakes, for machine transcripts of the demo."""

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
    """Corrupt about `error_rate` of the words: a final s or d lost, a word dropped, doubled or replaced.

    Args:
        text: The true transcript.
        error_rate: Share of words that come out wrong, 0 to 1.
        rng: Source of the mistakes.

    Returns:
        The corrupted text; never empty for a text that is not.
    """
    heard: list[str] = []
    for word in text.split():
        heard.extend(_corrupt_word(word, rng) if rng.random() < error_rate else (word,))
    return " ".join(heard) or text


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
