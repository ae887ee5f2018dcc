"""A `Transcriber` whose engine is a service elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from habla_ml.audio import encode_flac
from habla_ml.errors import EvaluationError
from habla_ml.settings.hosted import HostedServiceSettings
from habla_ml.transcription.audio_check import find_audio_fault
from habla_ml.transcription.engine import Clip, Hypothesis, Transcriber, Usage, compute_compression_ratio
from habla_ml.transcription.hosted.retries import CallResult, call_with_retries
from habla_ml.transcription.hosted.service import CallError, EncodedClip, FaultKind, SpeechService
from habla_ml.transcription.hosted.spending import Spending, compute_call_cost_usd
from habla_ml.transcription.options import HostedOptions

MAX_UNANSWERED_CLIPS: Final = 5
"""Clips in a row without an answer, their attempts used up: the service is down, and is not asked any more."""

_OUTAGE_KINDS: Final[tuple[FaultKind, ...]] = ("busy", "malformed")


class HostedTranscriber:
    """Sends clips to a service, several at a time, never above its cap, and says which ones it did not hear.

    The money of all clips of a call of `transcribe` is reserved before the first is sent. A clip without an answer is
    a failure `service`, or, where there is a `fallback`, what that engine heard, with its name in `fallback_engine`. A service
    that is down or set up wrongly is an error; what was paid for in the same call is returned first, and the error
    comes with the next one. Use it from one thread at a time.
    """

    def __init__(
        self,
        options: HostedOptions,
        settings: HostedServiceSettings,
        service: SpeechService,
        spending: Spending,
        fallback: Transcriber | None = None,
    ) -> None:
        self._options = options
        self._settings = settings
        self._service = service
        self._spending = spending
        self._fallback = fallback
        self._usage = Usage()
        self._lock = threading.Lock()
        self._consecutive_unanswered = 0
        self._fatal_fault: CallError | None = None

    @property
    def options(self) -> HostedOptions:
        """See `Transcriber.options`."""
        return self._options

    @property
    def usage(self) -> Usage:
        """See `Transcriber.usage`; `decode_s` and `audio_s` hold the fallback's share."""
        return self._usage

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Transcriber.transcribe`.

        Raises:
            EvaluationError: The cap is reached, the key is refused, or the service is down and there is no fallback;
                of the clips of this call none was heard.
        """
        self._check_working()
        found: dict[int, Hypothesis] = {}
        for at, clip in enumerate(clips):
            fault = find_audio_fault(clip.audio)
            if fault is not None:
                found[at] = Hypothesis(clip.audio_sha256, "", 0.0, clip.duration_s, "audio", fault)
        usable = {at: clip for at, clip in enumerate(clips) if at not in found}
        if usable:
            began_s = time.perf_counter()
            found.update(self._transcribe_all(usable))
            self._usage = replace(
                self._usage,
                audio_s=self._usage.audio_s + sum(clip.duration_s for clip in usable.values()),
                decode_s=self._usage.decode_s + time.perf_counter() - began_s,
            )
        return [found[at] for at in range(len(clips))]

    def close(self) -> None:
        """See `Transcriber.close`."""
        self._service.close()
        if self._fallback is not None:
            self._fallback.close()

    def _transcribe_all(self, clips: Mapping[int, Clip]) -> dict[int, Hypothesis]:
        prices = [compute_call_cost_usd(self._settings, clip.duration_s) for clip in clips.values()]
        reserved = self._spending.reserve(sum(prices))
        with ThreadPoolExecutor(self._settings.calls_at_once) as threads:
            asked = dict(zip(clips, threads.map(self._transcribe_clip, clips.values()), strict=True))
        paid_usd = sum(each.paid_usd for each in asked.values())
        extra_reserved_usd = sum(each.extra_reserved_usd for each in asked.values())
        self._spending.refund(reserved, sum(prices) + extra_reserved_usd - paid_usd)
        self._usage = replace(self._usage, cost_usd=self._usage.cost_usd + paid_usd)
        heard = {at: _build_hypothesis(clips[at], each) for at, each in asked.items()}
        if all(each.fault is not None for each in asked.values()):
            self._check_working()
        down = [at for at, each in asked.items() if each.fault is not None and each.fault.kind in _OUTAGE_KINDS]
        return {**heard, **self._fall_back(clips, heard, down)}

    def _transcribe_clip(self, clip: Clip) -> CallResult:
        """One clip, in a thread of the pool."""
        given_up = self._fatal_fault
        if given_up is not None:
            return CallResult(fault=CallError(f"not sent: {given_up.reason}", given_up.kind))
        recording = EncodedClip(encode_flac(clip.audio), clip.duration_s)
        asked = call_with_retries(
            self._service, recording, self._settings, self._spending, self._options.clip_timeout_s
        )
        with self._lock:
            self._record_fault(asked.fault)
        return asked

    def _record_fault(self, fault: CallError | None) -> None:
        if fault is not None and fault.kind in _OUTAGE_KINDS:
            self._consecutive_unanswered += 1
            if self._consecutive_unanswered >= MAX_UNANSWERED_CLIPS:
                self._fatal_fault = fault
        elif fault is not None and fault.kind == "setup":
            self._fatal_fault = fault
        else:
            self._consecutive_unanswered = 0

    def _check_working(self) -> None:
        """A setup that is wrong is an error; a service that is down is one without a fallback, else is tried again."""
        if self._fatal_fault is None:
            return
        if self._fatal_fault.kind == "setup":
            raise EvaluationError(self._fatal_fault.reason)
        if self._fallback is None:
            raise EvaluationError(
                f"{self._options.engine} is down: {MAX_UNANSWERED_CLIPS} clips in a row brought no answer, at last: "
                f"{self._fatal_fault.reason}; run again later, what was heard is kept"
            )
        self._fatal_fault, self._consecutive_unanswered = None, MAX_UNANSWERED_CLIPS - 1

    def _fall_back(
        self, clips: Mapping[int, Clip], heard: Mapping[int, Hypothesis], down: Sequence[int]
    ) -> dict[int, Hypothesis]:
        if self._fallback is None or not down:
            return {}
        local = self._fallback.transcribe([clips[at] for at in down])
        name = self._fallback.options.engine
        return {
            at: replace(each, fallback_engine=name, reason=heard[at].reason)
            for at, each in zip(down, local, strict=True)
            if each.failure is None
        }


def _build_hypothesis(clip: Clip, asked: CallResult) -> Hypothesis:
    if asked.fault is not None:
        return Hypothesis(clip.audio_sha256, "", asked.took_s, clip.duration_s, "service", asked.fault.reason)
    return Hypothesis(
        clip.audio_sha256,
        asked.text,
        asked.took_s,
        clip.duration_s,
        compression_ratio=compute_compression_ratio(asked.text),
        words=asked.words,
    )
