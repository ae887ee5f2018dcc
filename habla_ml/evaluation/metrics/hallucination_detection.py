"""What is invented in one text: loops, texts that compress too well, stock phrases, insertions in short clips.

A finding belongs to one clip; what many of them say of a model is `habla_ml.evaluation.metrics.hallucination`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.transcription.engine import compute_compression_ratio

if TYPE_CHECKING:
    from habla_ml.evaluation.metrics.inputs import Reference
    from habla_ml.evaluation.metrics.non_speech import NonSpeechClip
    from habla_ml.evaluation.scoring.alignment import ErrorCounts
    from habla_ml.transcription.engine import Hypothesis

MIN_REPETITIONS: Final = 3
MAX_PHRASE_WORDS: Final = 12
"""Words; a longer phrase said three times is found by its compression."""
_STOCK_PHRASES_FILE: Final = Path(__file__).parent / "stock_phrases" / "es.txt"


@dataclass(frozen=True)
class Loop:
    """A phrase that stands several times in a row."""

    phrase: tuple[str, ...]
    repetitions: int


@dataclass(frozen=True)
class StockPhrase:
    """Something that videos end with, as normalised words."""

    words: tuple[str, ...]
    is_whole_text: bool
    """Whether it counts only where nothing else is written."""


@dataclass(frozen=True)
class HallucinationThresholds:
    """What counts as short, and as too repetitive."""

    short_below_s: float = 2.0
    """Clips below it are short: little to hear, much to invent."""
    compression_ratio: float = 2.4
    """A text that compresses better is taken for a loop; Whisper's own bound."""
    stock_phrases: tuple[str, ...] = ()
    """Besides those that ship with the package; `= ` in front where it counts only as the whole text."""


@dataclass(frozen=True)
class SpeechFinding:
    """What one model invented in one utterance."""

    segment_id: str
    session_id: str
    text: str
    short_words: int | None
    """Reference words where the clip is short; None where it is not."""
    insertions: int
    loops: tuple[Loop, ...]
    compression_ratio: float | None
    is_compressed: bool
    stock_phrase: StockPhrase | None

    @property
    def is_invented(self) -> bool:
        """Whether a loop, a text too repetitive or a stock phrase was found."""
        return bool(self.loops) or self.is_compressed or self.stock_phrase is not None


@dataclass(frozen=True)
class NonSpeechFinding:
    """What one model wrote for one clip without speech."""

    clip: NonSpeechClip
    text: str
    words: int
    is_stopped: bool
    """Decoding ran out of time or crashed: who is stopped on noise was not silent, so this counts as output."""

    @property
    def has_output(self) -> bool:
        """Whether anything was written, or would have been."""
        return self.words > 0 or self.is_stopped


def find_speech_hallucinations(
    references: Sequence[Reference],
    texts: Sequence[str],
    words: Sequence[ErrorCounts],
    bounds: HallucinationThresholds | None = None,
) -> tuple[SpeechFinding, ...]:
    """What a model invented in each utterance, in the order given.

    Args:
        references: What was said.
        texts: What the model heard, one for each.
        words: Its errors in normalised words, one for each.
        bounds: What counts; the defaults where None.

    Raises:
        EvaluationError: The three differ in length.
    """
    if not len(references) == len(texts) == len(words):
        raise EvaluationError(
            f"{len(references)} references, {len(texts)} texts and {len(words)} counts do not belong together; pass "
            "one of each for every utterance"
        )
    bounds = bounds or HallucinationThresholds()
    phrases = load_stock_phrases(bounds.stock_phrases)
    return tuple(
        _find_in_utterance(reference, text, counts, bounds, phrases)
        for reference, text, counts in zip(references, texts, words, strict=True)
    )


def find_non_speech_hallucinations(
    clips: Sequence[NonSpeechClip], hypotheses: Mapping[str, Hypothesis]
) -> tuple[NonSpeechFinding, ...]:
    """What a model wrote for each clip, from its hypotheses by the sha256 of the audio.

    Raises:
        EvaluationError: A clip was not decoded.
    """
    missing = [each.clip_id for each in clips if each.audio_sha256 not in hypotheses]
    if missing:
        raise EvaluationError(
            f"{len(missing)} of {len(clips)} clips without speech have no hypothesis, the first is {missing[0]}; "
            "transcribe the whole set"
        )
    found = []
    for clip in clips:
        heard = hypotheses[clip.audio_sha256]
        words = len(normalise_spanish(heard.text).split())
        found.append(NonSpeechFinding(clip, heard.text, words, heard.failure in ("timeout", "crash")))
    return tuple(found)


def find_loops(hypothesis: Sequence[str], reference: Sequence[str]) -> tuple[Loop, ...]:
    """The loops of a hypothesis that its reference does not have, in reading order; both as normalised words.

    A loop is a phrase of 1 to 12 words that stands k ≥ 3 times in a row where the reference has it at most k − 2
    times in a row: a *no, no, no* that was said is none, and neither is one that was heard once more. Loops do not
    overlap; at each place the one that covers most words is taken, of equals the shortest phrase.
    """
    return tuple(
        each for each in _find_runs(hypothesis) if each.repetitions >= _find_longest_run(reference, each.phrase) + 2
    )


def load_stock_phrases(more: Iterable[str] = ()) -> tuple[StockPhrase, ...]:
    """The Spanish list that ships with the package, and the caller's own lines in the same form."""
    lines = [*_STOCK_PHRASES_FILE.read_text(encoding="utf-8").splitlines(), *more]
    phrases = {}
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        words = tuple(normalise_spanish(line.removeprefix("=")).split())
        if words:
            phrases[words] = StockPhrase(words, line.startswith("="))
    return tuple(phrases.values())


def find_stock_phrase(
    hypothesis: Sequence[str], reference: Sequence[str], phrases: Iterable[StockPhrase]
) -> StockPhrase | None:
    """The longest stock phrase of a hypothesis that its reference does not say, or None; normalised words."""
    present = set(hypothesis)
    found = [
        each
        for each in phrases
        if each.words[0] in present
        and (tuple(hypothesis) == each.words if each.is_whole_text else _contains_phrase(hypothesis, each.words))
        and not _contains_phrase(reference, each.words)
    ]
    return max(found, key=lambda each: len(each.words), default=None)


def _find_in_utterance(
    reference: Reference,
    text: str,
    words: ErrorCounts,
    bounds: HallucinationThresholds,
    phrases: Sequence[StockPhrase],
) -> SpeechFinding:
    said, heard = normalise_spanish(reference.sentence).split(), normalise_spanish(text).split()
    ratio = compute_compression_ratio(text)
    is_dense = ratio is not None and ratio > bounds.compression_ratio
    return SpeechFinding(
        segment_id=reference.segment_id,
        session_id=reference.session_id,
        text=text,
        short_words=words.reference_words if reference.duration_s < bounds.short_below_s else None,
        insertions=words.insertions,
        loops=find_loops(heard, said),
        compression_ratio=ratio,
        is_compressed=is_dense and (ratio or 0.0) > (compute_compression_ratio(reference.sentence) or 0.0),
        stock_phrase=find_stock_phrase(heard, said, phrases),
    )


def _find_runs(words: Sequence[str]) -> list[Loop]:
    if len(words) - len(set(words)) < MIN_REPETITIONS - 1:
        return []
    runs = []
    at = 0
    while at < len(words):
        best: Loop | None = None
        for length in range(1, min(MAX_PHRASE_WORDS, (len(words) - at) // MIN_REPETITIONS) + 1):
            phrase = tuple(words[at : at + length])
            times = _count_repetitions(words, at, phrase)
            if times >= MIN_REPETITIONS and (best is None or times * length > best.repetitions * len(best.phrase)):
                best = Loop(phrase, times)
        if best is None:
            at += 1
        else:
            runs.append(best)
            at += best.repetitions * len(best.phrase)
    return runs


def _count_repetitions(words: Sequence[str], at: int, phrase: tuple[str, ...]) -> int:
    times, length = 0, len(phrase)
    while tuple(words[at + times * length : at + (times + 1) * length]) == phrase:
        times += 1
    return times


def _find_longest_run(words: Sequence[str], phrase: tuple[str, ...]) -> int:
    return max((_count_repetitions(words, at, phrase) for at in range(len(words) - len(phrase) + 1)), default=0)


def _contains_phrase(words: Sequence[str], phrase: tuple[str, ...]) -> bool:
    length = len(phrase)
    return any(tuple(words[at : at + length]) == phrase for at in range(len(words) - length + 1))
