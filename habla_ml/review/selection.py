"""Ranking and the choice within a budget, as pure functions.

The score of a segment is the weighted mean of its signals' ranks:

    score = Σ weight * rank / Σ weight,   rank(v) = (number smaller + half of the equal) / number of segments

A signal of 0, or one that was not measured, has rank 0. Ranks make signals of different units comparable, and give a
rare signal (rejected by Habla) more weight than a common one.

The choice is greedy. The next segment has the largest score / (1 + minutes of that speaker chosen already), so that no
speaker fills the queue. A session gives a limited number of segments; equal words or audio are chosen once.

Segments drawn at random from held-out sessions are blind: people type them without a text in view, and two people type
a part of them. Which ones depends on their id alone.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.recordings.segments import HABLA_SOURCE
from habla_ml.review.candidates import ReviewCandidate
from habla_ml.settings import ReviewSettings, ReviewWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANDOM_REASON = "random: drawn by chance"
_MOST_REASONS = 3
_LOWEST_REASON_RANK = 0.5
"""Least rank of a signal that is shown as a reason."""
_NOISE_FROM_NO_SPEECH_PROB = 0.6
"""No-speech probability above which a clip without a transcript is noise; Whisper's own bound."""


@dataclass(frozen=True)
class ComparedHypothesis:
    """The released model's hypothesis of a candidate, compared with a second one."""

    model_version: str
    text: str
    avg_logprob: float | None
    """Mean natural log-probability of the tokens."""
    no_speech_prob: float | None
    second_source: str = ""
    """Source of the second hypothesis; empty without one."""
    disagreement: float = 0.0
    """Share of words in which the two texts differ, 0…1."""


@dataclass(frozen=True)
class DecodedCandidate:
    """A candidate with its hypothesis; None without a released model."""

    candidate: ReviewCandidate
    hypothesis: ComparedHypothesis | None = None

    @property
    def hint(self) -> str:
        """The transcript shown to a person: the released model's, else Habla's."""
        return (self.hypothesis.text if self.hypothesis else "") or self.candidate.machine_text

    @property
    def hint_version(self) -> str:
        """The source of the hint."""
        return self.hypothesis.model_version if self.hypothesis and self.hypothesis.text else HABLA_SOURCE

    @property
    def is_noise(self) -> bool:
        """Whether there is no transcript and the model finds no speech."""
        found = self.hypothesis
        return not self.hint and found is not None and (found.no_speech_prob or 0.0) > _NOISE_FROM_NO_SPEECH_PROB


@dataclass(frozen=True)
class SentBackSegment:
    """An annotated segment to review again, with its text and the request that names the fault."""

    segment_id: str
    day: str
    text: str
    request: ReviewRequest


@dataclass(frozen=True)
class Ranked:
    """A segment with its score and the reasons for it."""

    decoded_candidate: DecodedCandidate
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Signal:
    """One value for each segment, larger is more urgent and 0 is neutral, and a text for each value."""

    weight: float
    values: NDArray[np.float64]
    texts: Sequence[str]


def rank(considered: Sequence[DecodedCandidate], settings: ReviewSettings, quiet_below_dbfs: float) -> list[Ranked]:
    """Return all segments that are not noise, most urgent first; equal scores are in random order."""
    speech = [each for each in considered if not each.is_noise]
    signals = _compute_signals(speech, settings, quiet_below_dbfs)
    weight = sum(each.weight for each in signals) or 1.0
    ranks = [_compute_mid_ranks(each.values) for each in signals]
    ranked = []
    for at, each in enumerate(speech):
        shares = [signal.weight * float(of[at]) / weight for signal, of in zip(signals, ranks, strict=True)]
        order = sorted((index for index in range(len(signals)) if shares[index]), key=lambda index: -shares[index])
        high = [index for index in order if ranks[index][at] >= _LOWEST_REASON_RANK] or order[:1]
        reasons = tuple(signals[index].texts[at] for index in high[:_MOST_REASONS])
        ranked.append(Ranked(each, round(sum(shares), 6), reasons))
    return sorted(ranked, key=lambda each: (-each.score, each.decoded_candidate.candidate.random_order))


def take_minutes(candidates: Iterable[ReviewCandidate], minutes: float) -> list[ReviewCandidate]:
    """Return the first candidates that together have the minutes, or all."""
    taken, left_s = [], 60 * minutes
    for each in candidates:
        if left_s <= 0:
            break
        taken.append(each)
        left_s -= each.duration_s
    return taken


def draw_random(
    drawn: Sequence[DecodedCandidate], minutes: float, settings: ReviewSettings | None = None
) -> list[ReviewItem]:
    """Return the first segments of a random order within the minutes of listening; equal audio is drawn once.

    Segments of held-out sessions are blind, in the shares of `settings`; None shows the text of each segment.
    """
    items, sounds, left_s = [], set(), 60 * minutes
    for each in drawn:
        candidate = each.candidate
        people = 0 if settings is None else count_blind_people(candidate, settings)
        hint, version = ("", "") if people else (each.hint, each.hint_version)
        item = _build_review_item(candidate, hint, version, 0.0, (RANDOM_REASON,))
        item = replace(item, blind_people=people)
        if item.work_s > left_s:
            break  # Skipping to shorter segments would prefer short speech.
        if candidate.audio_sha256 in sounds:
            continue
        sounds.add(candidate.audio_sha256)
        left_s -= item.work_s
        items.append(item)
    return items


def count_blind_people(candidate: ReviewCandidate, settings: ReviewSettings) -> int:
    """Return how many people transcribe a random segment without a text; 0 if they see a text.

    A sealed segment is always blind: no model has decoded it.
    """
    if not candidate.is_held_out:
        return 0
    is_blind = candidate.split == "sealed" or _draw(candidate, "blind") < settings.blind_share
    return (2 if _draw(candidate, "second person") < settings.second_person_share else 1) if is_blind else 0


def _draw(candidate: ReviewCandidate, purpose: str) -> float:
    """Return a number in 0…1 that is uniform over segments and the same in every week."""
    digest = hashlib.blake2b(candidate.segment_id.encode(), digest_size=8, key=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def select_sent_back(known: Iterable[tuple[SentBackSegment, ReviewCandidate]], minutes: float) -> list[ReviewItem]:
    """Return the segments to review again, in order, within the minutes."""
    items, left_s = [], 60 * minutes
    for segment, candidate in known:
        if candidate.duration_s > left_s:
            continue
        left_s -= candidate.duration_s
        hint, version = (segment.text, "") if segment.text else (candidate.machine_text, HABLA_SOURCE)
        reasons = (f"conventions: {', '.join(segment.request.rules)}",)
        item = _build_review_item(candidate, hint, version, score=1.0, reasons=reasons)
        items.append(replace(item, request=segment.request))
    return items


def choose_within_budget(
    ranked: Sequence[Ranked], minutes: float, most_per_session: int, taken: Sequence[DecodedCandidate] = ()
) -> list[ReviewItem]:
    """Return the greedy choice described above, in the order of choice.

    Args:
        ranked: The segments to choose from.
        minutes: Most minutes of audio.
        most_per_session: Most segments of one session, including those in `taken`.
        taken: Segments already in the queue; their words, audio and speakers count as chosen.
    """
    texts = {
        each.decoded_candidate.candidate.segment_id: normalise_spanish(each.decoded_candidate.hint) for each in ranked
    }
    ids, words, sounds = set[str](), set[str](), set[str]()
    sessions, voices_s = Counter[str](), defaultdict[str, float](float)

    def take(candidate: ReviewCandidate, text: str) -> None:
        ids.add(candidate.segment_id)
        words.add(text)
        sounds.add(candidate.audio_sha256)
        sessions[candidate.session_id] += 1
        voices_s[candidate.voice] += candidate.duration_s

    def is_excluded(candidate: ReviewCandidate) -> bool:
        text = texts[candidate.segment_id]
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
        if candidate.duration_s > left_s or is_excluded(candidate):
            continue
        worth = -each.score / (1 + voices_s[candidate.voice] / 60)
        if worth > claimed:  # Its speaker was chosen since; try again at the lower priority.
            heapq.heappush(heap, (worth, at))
            continue
        take(candidate, texts[candidate.segment_id])
        left_s -= candidate.duration_s
        hint, version = each.decoded_candidate.hint, each.decoded_candidate.hint_version
        items.append(_build_review_item(candidate, hint, version, each.score, each.reasons))
    return items


def interleave(chosen: Sequence[ReviewItem], drawn: Sequence[ReviewItem]) -> list[ReviewItem]:
    """Merge both lists and spread the drawn items evenly, so that half of the queue has half of each."""
    placed = [((at + 0.5) / len(chosen), each) for at, each in enumerate(chosen)]
    placed += [((at + 0.5) / len(drawn), each) for at, each in enumerate(drawn)]
    return [each for _, each in sorted(placed, key=lambda pair: pair[0])]


def _compute_signals(
    considered: Sequence[DecodedCandidate], settings: ReviewSettings, quiet_below_dbfs: float
) -> list[_Signal]:
    weights: ReviewWeights = settings.weights
    candidates, hypotheses = [each.candidate for each in considered], [each.hypothesis for each in considered]

    def signal(weight: float, values: Iterable[float], texts: Iterable[str]) -> _Signal:
        return _Signal(weight, np.array(list(values), np.float64), list(texts))

    logprobs = [each.avg_logprob if each and each.avg_logprob is not None else 0.0 for each in hypotheses]
    silences = [(each.no_speech_prob or 0.0) if each and each.text else 0.0 for each in hypotheses]
    doubts = [0.0 if each.machine_confidence is None else 1 - each.machine_confidence for each in candidates]
    quiet = [max(0.0, quiet_below_dbfs - each.loudness_dbfs) for each in candidates]
    few = settings.few_minutes_of_a_speaker
    return [
        signal(
            weights.uncertainty,
            (-each for each in logprobs),
            (
                f"unsure: {each.model_version} gives its tokens {np.exp(value):.0%}" if each else ""
                for each, value in zip(hypotheses, logprobs, strict=True)
            ),
        ),
        signal(
            weights.disagreement,
            (each.disagreement if each else 0.0 for each in hypotheses),
            (
                f"disputed: {each.model_version} and {each.second_source} differ in {each.disagreement:.0%} of the words"
                if each
                else ""
                for each in hypotheses
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
    """Return mid-ranks as shares of all segments; 0 for values of 0 and below."""
    if not len(values):
        return values
    ordered = np.sort(values)
    smaller, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    ranks: NDArray[np.float64] = np.where(values > 0, (smaller + upto) / 2 / len(values), 0.0)
    return ranks


def _build_review_item(
    candidate: ReviewCandidate, hint: str, model_version: str, score: float, reasons: tuple[str, ...]
) -> ReviewItem:
    return ReviewItem(
        segment_id=candidate.segment_id,
        session_id=candidate.session_id,
        day=candidate.day,
        speaker=candidate.speaker,
        duration_s=candidate.duration_s,
        hint=hint,
        model_version=model_version if hint else "",
        score=score,
        reasons=reasons,
        is_random=reasons == (RANDOM_REASON,),
        split=candidate.split,
    )
