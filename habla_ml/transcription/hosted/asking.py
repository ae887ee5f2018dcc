"""How often one clip is sent, and what that costs."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from habla_ml.settings.hosted import HostedServiceSettings
from habla_ml.transcription.engine import HeardWord
from habla_ml.transcription.hosted.service import CallError, Recording, Service
from habla_ml.transcription.hosted.spending import CapReachedError, Spending, billed_usd


@dataclass(frozen=True)
class Asked:
    """What came of one clip."""

    text: str = ""
    words: tuple[HeardWord, ...] = ()
    fault: CallError | None = None
    """Why there is no text."""
    took_s: float = 0.0
    """Wall time, pauses included."""
    paid_usd: float = 0.0
    """What the service bills, or may bill, for all calls."""
    more_usd: float = 0.0
    """Money reserved for calls after a first one that may be billed."""


def ask(
    service: Service, recording: Recording, settings: HostedServiceSettings, spending: Spending, patience_s: float
) -> Asked:
    """Send a clip until there is an answer, the attempts are used up, or `patience_s` is.

    The first call's money is reserved by the caller. A fault that may be billed counts as paid, and the next call
    reserves its own.
    """
    began_s, price_usd = time.monotonic(), billed_usd(settings, recording.duration_s)
    paid_usd, more_usd, attempt = 0.0, 0.0, 1
    while True:
        left_s = patience_s - (time.monotonic() - began_s)
        try:
            text, words = service.hear(recording, min(settings.timeout_s, left_s))
            took_s, paid_usd = time.monotonic() - began_s, paid_usd + price_usd
            return Asked(text, words, None, took_s, paid_usd, more_usd)
        except CallError as caught:
            fault = caught
        paid_usd += price_usd if fault.may_be_billed else 0.0
        took_s = time.monotonic() - began_s
        pause_s = _pause_s(settings, attempt, fault)
        if fault.kind != "busy" or attempt == settings.attempts or took_s + pause_s >= patience_s:
            return Asked("", (), _after(fault, attempt, took_s), took_s, paid_usd, more_usd)
        if fault.may_be_billed:
            try:
                more_usd += spending.reserve(price_usd).usd
            except CapReachedError:
                return Asked("", (), fault, took_s, paid_usd, more_usd)
        time.sleep(pause_s)
        attempt += 1


def _pause_s(settings: HostedServiceSettings, attempt: int, fault: CallError) -> float:
    """As long as the service asks for and then a little, or double the last with jitter, so that no two march."""
    doubled_s = settings.first_pause_s * 2.0 ** (attempt - 1)
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 (spreads, protects nothing)
    if fault.retry_after_s is not None:
        return fault.retry_after_s + settings.first_pause_s * (jitter - 0.5)
    return doubled_s * jitter


def _after(fault: CallError, attempts: int, took_s: float) -> CallError:
    if attempts == 1:
        return fault
    reason = f"{fault.reason}, after {attempts} calls in {took_s:.1f} s"
    return CallError(reason, fault.kind, fault.retry_after_s, fault.may_be_billed)
