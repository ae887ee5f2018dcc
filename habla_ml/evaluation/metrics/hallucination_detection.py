"""Detect hallucinations in one text: loops, high compression, stock phrases, and insertions in short clips.

`hallucination` computes the figures of a model from these findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.alignment import check_equal_lengths
from habla_ml.evaluation.scoring.normalisation import normalise_spanish, normalise_spanish_pair
from habla_ml.transcription.engine import compute_compression_ratio

if TYPE_CHECKING:
    from habla_ml.evaluation.metrics.inputs import Reference
    from habla_ml.evaluation.metrics.non_speech import NonSpeechClip
    from habla_ml.evaluation.scoring.alignment import ErrorCounts
    from habla_ml.settings import EvaluationSettings
    from habla_ml.transcription.engine import Hypothesis

MIN_REPETITIONS: Final = 3
MAX_PHRASE_WORDS: Final = 12
"""The compression ratio finds repetitions of longer phrases."""
_STOCK_PHRASES_FILE: Final = Path(__file__).parent / "stock_phrases" / "es.txt"


@dataclass(frozen=True)
class Loop:
    """A phrase that is repeated without a gap."""

    phrase: tuple[str, ...]
    repetitions: int


@dataclass(frozen=True)
class StockPhrase:
    """A phrase from the end of videos, as normalised words."""

    words: tuple[str, ...]
    is_whole_text: bool
    """Whether it counts only if the text has no other words."""


@dataclass(frozen=True)
class SpeechFinding:
    """The findings in one utterance of one model."""

    segment_id: str
    session_id: str
    text: str
    short_words: int | None
    """Reference words of a short clip; None for a longer clip."""
    insertions: int
    loops: tuple[Loop, ...]
    compression_ratio: float | None
    is_compressed: bool
    stock_phrase: StockPhrase | None

    @property
    def is_invented(self) -> bool:
        """Whether the text has a loop, a high compression ratio or a stock phrase."""
        return bool(self.loops) or self.is_compressed or self.stock_phrase is not None


@dataclass(frozen=True)
class NonSpeechFinding:
    """The output of one model for one clip without speech."""

    clip: NonSpeechClip
    text: str
    words: int
    is_stopped: bool
    """Whether decoding timed out or crashed. This counts as output, because a model that loops is not silent."""

    @property
    def has_output(self) -> bool:
        """Whether there is a word, or decoding was stopped."""
        return self.words > 0 or self.is_stopped


def find_speech_hallucinations(
    references: Sequence[Reference], texts: Sequence[str], words: Sequence[ErrorCounts], settings: EvaluationSettings
) -> tuple[SpeechFinding, ...]:
    """Find the hallucinations of one model in each utterance.

    Args:
        references: The utterances.
        texts: The hypothesis of each utterance.
        words: The errors of each hypothesis in normalised words.
        settings: `short_below_s`, `compression_ratio` and further `stock_phrases`.

    Raises:
        EvaluationError: The lists differ in length.
    """
    check_equal_lengths(references=references, texts=texts, counts=words)
    phrases = load_stock_phrases(settings.stock_phrases)
    return tuple(
        _find_in_utterance(reference, text, counts, settings, phrases)
        for reference, text, counts in zip(references, texts, words, strict=True)
    )


def find_non_speech_hallucinations(
    clips: Sequence[NonSpeechClip], hypotheses: Mapping[str, Hypothesis]
) -> tuple[NonSpeechFinding, ...]:
    """Return the output of one model for each clip; `hypotheses` has the sha256 of the audio as keys.

    Raises:
        EvaluationError: A clip has no hypothesis.
    """
    missing = [each.clip_id for each in clips if each.audio_sha256 not in hypotheses]
    if missing:
        raise EvaluationError(
            f"{len(missing)} of {len(clips)} clips without speech have no hypothesis, the first is {missing[0]}; "
            "transcribe the whole set"
        )
    found = []
    for clip in clips:
        hypothesis = hypotheses[clip.audio_sha256]
        words = len(normalise_spanish(hypothesis.text).split())
        found.append(NonSpeechFinding(clip, hypothesis.text, words, hypothesis.failure in ("timeout", "crash")))
    return tuple(found)


def find_loops(hypothesis: Sequence[str], reference: Sequence[str]) -> tuple[Loop, ...]:
    """Return the loops in a hypothesis that its reference does not have, in reading order; both are normalised words.

    A loop is a phrase of 1 to 12 words that is repeated k ≥ 3 times in a row, while the reference repeats it at most
    k − 2 times in a row. A spoken *no, no, no* is therefore no loop, even with one repetition more. Loops do not overlap:
    at each place the loop with the most words is used, and of equally long loops the one with the shortest phrase.
    """
    return tuple(
        each for each in _find_runs(hypothesis) if each.repetitions >= _find_longest_run(reference, each.phrase) + 2
    )


def load_stock_phrases(more: Iterable[str] = ()) -> tuple[StockPhrase, ...]:
    """Read the Spanish list of the package and more lines of the same form: `= ` in front means `is_whole_text`."""
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
    """Return the longest stock phrase in a hypothesis that is not in its reference; both are normalised words."""
    present = set(hypothesis)
    found = [
        each
        for each in phrases
        if each.words[0] in present
        and (tuple(hypothesis) == each.words if each.is_whole_text else _find_longest_run(hypothesis, each.words))
        and not _find_longest_run(reference, each.words)
    ]
    return max(found, key=lambda each: len(each.words), default=None)


def _find_in_utterance(
    reference: Reference, text: str, words: ErrorCounts, settings: EvaluationSettings, phrases: Sequence[StockPhrase]
) -> SpeechFinding:
    expected, found = (each.split() for each in normalise_spanish_pair(reference.sentence, text))
    ratio = compute_compression_ratio(text)
    is_dense = ratio is not None and ratio > settings.compression_ratio
    return SpeechFinding(
        segment_id=reference.segment_id,
        session_id=reference.session_id,
        text=text,
        short_words=words.reference_words if reference.duration_s < settings.short_below_s else None,
        insertions=words.insertions,
        loops=find_loops(found, expected),
        compression_ratio=ratio,
        is_compressed=is_dense and (ratio or 0.0) > (compute_compression_ratio(reference.sentence) or 0.0),
        stock_phrase=find_stock_phrase(found, expected, phrases),
    )


def _find_runs(words: Sequence[str]) -> list[Loop]:
    if len(words) - len(set(words)) < MIN_REPETITIONS - 1:
        return []
    runs = []
    at = 0
    while at < len(words):
        longest = min(MAX_PHRASE_WORDS, (len(words) - at) // MIN_REPETITIONS)
        phrases = [tuple(words[at : at + length]) for length in range(1, longest + 1)]
        loops = [Loop(phrase, _count_repetitions(words, at, phrase)) for phrase in phrases]
        best = max(
            (each for each in loops if each.repetitions >= MIN_REPETITIONS),
            key=lambda each: each.repetitions * len(each.phrase),
            default=None,
        )
        if best is not None:
            runs.append(best)
        at += best.repetitions * len(best.phrase) if best else 1
    return runs


def _count_repetitions(words: Sequence[str], at: int, phrase: tuple[str, ...]) -> int:
    times, length = 0, len(phrase)
    while tuple(words[at + times * length : at + (times + 1) * length]) == phrase:
        times += 1
    return times


def _find_longest_run(words: Sequence[str], phrase: tuple[str, ...]) -> int:
    """Return the most repetitions of a phrase in a row, 0 if the words do not contain it."""
    return max((_count_repetitions(words, at, phrase) for at in range(len(words) - len(phrase) + 1)), default=0)
