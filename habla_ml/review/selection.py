"""Ranking and the choice under a budget: pure functions of what is known of each candidate.

The score of a segment is the weighted mean of its signals' ranks:

    score = Σ weight * rank / Σ weight,   rank(v) = (number smaller + half of the equal) / number of segments

A signal of 0 (or one that nobody measured) has rank 0. Ranks make signals of different units comparable, and a rare
one (rejected by Habla) weigh more than a common one.

The choice is greedy: next comes the segment with the largest score / (1 + minutes of that voice chosen already), so
that no voice fills the queue; a session gives at most so many, and the same words or the same sound come once.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.recordings.segments import HABLA_SOURCE
from habla_ml.review.candidates import ReviewCandidate
from habla_ml.settings import ReviewSettings, ReviewWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANDOM_REASON = "random: drawn from all that nobody judged"
_MOST_REASONS = 3
_LOWEST_REASON_RANK = 0.5
"""From here on a signal is a reason that a person is told."""
_NOISE_FROM_NO_SPEECH_PROB = 0.6
"""Above this no-speech probability a clip in which nobody heard a word is noise; Whisper's own bound."""


@dataclass(frozen=True)
class ComparedHypothesis:
    """What the released model, and a second one, made of a candidate."""

    model_version: str
    text: str
    avg_logprob: float | None
    """Mean natural log-probability of the tokens."""
    no_speech_prob: float | None
    second_source: str = ""
    """Name of the second opinion; empty where there is none."""
    disagreement: float = 0.0
    """Share of the words on which the two texts differ, 0…1."""


@dataclass(frozen=True)
class DecodedCandidate:
    """A candidate and what was heard in it; None where no released model listened."""

    candidate: ReviewCandidate
    hypothesis: ComparedHypothesis | None = None

    @property
    def hint(self) -> str:
        """The text that a person is shown: the released model's, else Habla's."""
        return (self.hypothesis.text if self.hypothesis else "") or self.candidate.machine_text

    @property
    def hint_version(self) -> str:
        """Whose text that is."""
        return self.hypothesis.model_version if self.hypothesis and self.hypothesis.text else HABLA_SOURCE

    @property
    def is_noise(self) -> bool:
        """Nobody heard a word, and the model takes it for no speech."""
        heard = self.hypothesis
        return not self.hint and heard is not None and (heard.no_speech_prob or 0.0) > _NOISE_FROM_NO_SPEECH_PROB


@dataclass(frozen=True)
class SentBackSegment:
    """A segment that has a person's word and is asked for again, with what they typed and what is wrong with it."""

    segment_id: str
    day: str
    text: str
    request: ReviewRequest


@dataclass(frozen=True)
class Ranked:
    """A considered segment with its score and the reasons for it."""

    decoded_candidate: DecodedCandidate
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Signal:
    """One figure a segment, 0 where it says nothing, larger is more urgent; and the words for each figure."""

    weight: float
    values: NDArray[np.float64]
    words: Sequence[str]


def rank(
    considered: Sequence[DecodedCandidate], settings: ReviewSettings, quiet_below_dbfs: float
) -> list[Ranked]:
    """All that is not noise, most urgent first; equal scores go by the week's random order."""
    speech = [each for each in considered if not each.is_noise]
    signals = _compute_signals(speech, settings, quiet_below_dbfs)
    weight = sum(each.weight for each in signals) or 1.0
    ranks = [_compute_mid_ranks(each.values) for each in signals]
    ranked = []
    for at, each in enumerate(speech):
        shares = [signal.weight * float(of[at]) / weight for signal, of in zip(signals, ranks, strict=True)]
        order = sorted((index for index in range(len(signals)) if shares[index]), key=lambda index: -shares[index])
        telling = [index for index in order if ranks[index][at] >= _LOWEST_REASON_RANK] or order[:1]
        reasons = tuple(signals[index].words[at] for index in telling[:_MOST_REASONS])
        ranked.append(Ranked(each, round(sum(shares), 6), reasons))
    return sorted(ranked, key=lambda each: (-each.score, each.decoded_candidate.candidate.random_order))


def draw_random(drawn: Sequence[DecodedCandidate], minutes: float) -> list[ReviewItem]:
    """The first of the week's random order that fit into the minutes; the same sound comes once."""
    items, sounds, left_s = [], set(), 60 * minutes
    for each in drawn:
        candidate = each.candidate
        if candidate.duration_s > left_s:
            break  # going on to shorter ones would prefer short speech
        if candidate.audio_sha256 in sounds:
            continue
        sounds.add(candidate.audio_sha256)
        left_s -= candidate.duration_s
        items.append(_build_review_item(each, 0.0, (RANDOM_REASON,), is_random=True))
    return items


def select_sent_back(known: Iterable[tuple[SentBackSegment, ReviewCandidate]], minutes: float) -> list[ReviewItem]:
    """Segments to be looked at again, as they come, as far as the minutes go."""
    items, left_s = [], 60 * minutes
    for asked, candidate in known:
        if candidate.duration_s > left_s:
            continue
        left_s -= candidate.duration_s
        items.append(
            ReviewItem(
                segment_id=candidate.segment_id,
                session_id=candidate.session_id,
                day=candidate.day,
                speaker=candidate.speaker,
                duration_s=candidate.duration_s,
                hint=asked.text or candidate.machine_text,
                model_version="" if asked.text else HABLA_SOURCE,
                score=1.0,
                reasons=(f"conventions: {', '.join(asked.request.rules)}",),
                is_random=False,
                request=asked.request,
            )
        )
    return items


def choose_within_budget(
    ranked: Sequence[Ranked], minutes: float, most_per_session: int, taken: Sequence[DecodedCandidate] = ()
) -> list[ReviewItem]:
    """The greedy choice described above, in the order in which it was made.

    Args:
        ranked: what can be chosen.
        minutes: of audio, at most.
        most_per_session: segments of one session, those in `taken` included.
        taken: what is in the queue for another reason: its words, sounds and voices count as chosen.
    """
    said = {
        each.decoded_candidate.candidate.segment_id: normalise_spanish(each.decoded_candidate.hint)
        for each in ranked
    }
    ids, words, sounds = set[str](), set[str](), set[str]()
    sessions, voices_s = Counter[str](), defaultdict[str, float](float)

    def take(candidate: ReviewCandidate, text: str) -> None:
        ids.add(candidate.segment_id)
        words.add(text)
        sounds.add(candidate.audio_sha256)
        sessions[candidate.session_id] += 1
        voices_s[candidate.voice] += candidate.duration_s

    def is_out(candidate: ReviewCandidate) -> bool:
        text = said[candidate.segment_id]
        return (
            candidate.segment_id in ids
            or candidate.audio_sha256 in sounds
            or (bool(text) and text in words)
            or sessions[candidate.session_id] >= most_per_session
        )

    for present in taken:
        take(present.candidate, normalise_spanish(present.hint))
    items, left_s = list[ReviewItem](), 60 * minutes
    heap = [(-each.score, at) for at, each in enumerate(ranked)]
    heapq.heapify(heap)
    while heap:
        claimed, at = heapq.heappop(heap)
        each, candidate = ranked[at], ranked[at].decoded_candidate.candidate
        if candidate.duration_s > left_s or is_out(candidate):
            continue
        worth = -each.score / (1 + voices_s[candidate.voice] / 60)
        if worth > claimed:  # its voice was chosen meanwhile: back into the line with what it is worth now
            heapq.heappush(heap, (worth, at))
            continue
        take(candidate, said[candidate.segment_id])
        left_s -= candidate.duration_s
        items.append(_build_review_item(each.decoded_candidate, each.score, each.reasons, is_random=False))
    return items


def interleave(chosen: Sequence[ReviewItem], drawn: Sequence[ReviewItem]) -> list[ReviewItem]:
    """Both in their order, the drawn spread evenly: who stops half-way has done half of each."""
    placed = [((at + 0.5) / len(chosen), each) for at, each in enumerate(chosen)]
    placed += [((at + 0.5) / len(drawn), each) for at, each in enumerate(drawn)]
    return [each for _, each in sorted(placed, key=lambda pair: pair[0])]


def _compute_signals(
    considered: Sequence[DecodedCandidate], settings: ReviewSettings, quiet_below_dbfs: float
) -> list[_Signal]:
    weights: ReviewWeights = settings.weights
    candidates, heards = [each.candidate for each in considered], [each.hypothesis for each in considered]

    def signal(weight: float, values: Iterable[float], words: Iterable[str]) -> _Signal:
        return _Signal(weight, np.array(list(values), np.float64), list(words))

    logprobs = [each.avg_logprob if each and each.avg_logprob is not None else 0.0 for each in heards]
    silences = [(each.no_speech_prob or 0.0) if each and each.text else 0.0 for each in heards]
    doubts = [0.0 if each.machine_confidence is None else 1 - each.machine_confidence for each in candidates]
    quiet = [max(0.0, quiet_below_dbfs - each.loudness_dbfs) for each in candidates]
    few = settings.few_minutes_of_a_speaker
    return [
        signal(
            weights.uncertainty,
            (-each for each in logprobs),
            (
                f"unsure: {each.model_version} gives its tokens {np.exp(value):.0%}" if each else ""
                for each, value in zip(heards, logprobs, strict=True)
            ),
        ),
        signal(
            weights.disagreement,
            (each.disagreement if each else 0.0 for each in heards),
            (
                f"disputed: {each.model_version} and {each.second_source} differ in {each.disagreement:.0%} of the words"
                if each
                else ""
                for each in heards
            ),
        ),
        signal(weights.no_speech, silences, (f"perhaps no speech: {each:.0%}" for each in silences)),
        signal(weights.confidence, doubts, (f"Habla unsure: it gave {1 - each:.0%}" for each in doubts)),
        signal(
            weights.rejected,
            (float(each.rejected) for each in candidates),
            ("rejected: Habla's recogniser gave nothing" for _ in candidates),
        ),
        signal(weights.quiet, quiet, (f"quiet: {each.loudness_dbfs:.0f} dBFS" for each in candidates)),
        signal(
            weights.new_speaker,
            (max(0.0, few - each.annotated_minutes) for each in candidates),
            (f"new speaker: {each.annotated_minutes:.1f} min transcribed" for each in candidates),
        ),
    ]


def _compute_mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-ranks as shares of all segments; 0 for values of 0 and below."""
    if not len(values):
        return values
    ordered = np.sort(values)
    smaller, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    ranks: NDArray[np.float64] = np.where(values > 0, (smaller + upto) / 2 / len(values), 0.0)
    return ranks


def _build_review_item(
    each: DecodedCandidate, score: float, reasons: tuple[str, ...], is_random: bool
) -> ReviewItem:
    candidate = each.candidate
    return ReviewItem(
        segment_id=candidate.segment_id,
        session_id=candidate.session_id,
        day=candidate.day,
        speaker=candidate.speaker,
        duration_s=candidate.duration_s,
        hint=each.hint,
        model_version=each.hint_version if each.hint else "",
        score=score,
        reasons=reasons,
        is_random=is_random,
    )
