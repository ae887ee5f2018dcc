"""Sends one clip, with retries, and counts the cost."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from habla_ml.settings.hosted import HostedServiceSettings
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord
from habla_ml.transcription.hosted.service import CallError, EncodedClip, SpeechService
from habla_ml.transcription.hosted.spending import CapReachedError, Spending, compute_call_cost_usd


@dataclass(frozen=True)
class CallResult:
    """The result of one clip."""

    text: str = ""
    words: tuple[RecognisedWord, ...] = ()
    fault: CallError | None = None
    """The reason for a missing text."""
    duration_s: float = 0.0
    """Wall time including pauses."""
    paid_usd: float = 0.0
    """Cost that the service bills, or may bill, for all calls."""
    extra_reserved_usd: float = 0.0
    """Cost reserved for calls that follow a failed call which may be billed."""

    def build_hypothesis(self, clip: Clip) -> Hypothesis:
        """Return the hypothesis of this clip."""
        if self.fault is not None:
            return Hypothesis.failed(clip, "service", self.fault.reason, self.duration_s)
        return Hypothesis.of(clip, self.text, self.duration_s, words=self.words)


def call_with_retries(
    service: SpeechService,
    recording: EncodedClip,
    settings: HostedServiceSettings,
    spending: Spending,
    patience_s: float,
) -> CallResult:
    """Send a clip until there is an answer, no attempt is left, or `patience_s` is over.

    The caller reserves the cost of the first call. A failed call that may be billed counts as paid, and the next call
    then reserves its own cost.
    """
    began_s, price_usd = time.monotonic(), compute_call_cost_usd(settings, recording.duration_s)
    paid_usd, extra_reserved_usd, attempt = 0.0, 0.0, 1
    while True:
        left_s = patience_s - (time.monotonic() - began_s)
        try:
            text, words = service.recognise(recording, min(settings.timeout_s, left_s))
            return CallResult(text, words, None, time.monotonic() - began_s, paid_usd + price_usd, extra_reserved_usd)
        except CallError as caught:
            fault = caught
        paid_usd += price_usd if fault.may_be_billed else 0.0
        duration_s = time.monotonic() - began_s
        pause_s = _compute_pause_s(settings, attempt, fault)
        if fault.kind != "busy" or attempt == settings.attempts or duration_s + pause_s >= patience_s:
            if attempt > 1:
                fault.reason += f", after {attempt} calls in {duration_s:.1f} s"
            return CallResult("", (), fault, duration_s, paid_usd, extra_reserved_usd)
        if fault.may_be_billed:
            try:
                spending.reserve(price_usd)
            except CapReachedError:
                return CallResult("", (), fault, duration_s, paid_usd, extra_reserved_usd)
            extra_reserved_usd += price_usd
        time.sleep(pause_s)
        attempt += 1


def _compute_pause_s(settings: HostedServiceSettings, attempt: int, fault: CallError) -> float:
    """Return the pause that the service requests plus jitter, or else a pause that doubles, with jitter."""
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 (jitter, not cryptography)
    if fault.retry_after_s is not None:
        return fault.retry_after_s + settings.first_pause_s * (jitter - 0.5)
    return settings.first_pause_s * 2.0 ** (attempt - 1) * jitter
