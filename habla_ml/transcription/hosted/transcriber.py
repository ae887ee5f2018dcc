"""A `Transcriber` that uses a hosted service."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from habla_ml.audio import encode_flac
from habla_ml.errors import EvaluationError
from habla_ml.settings.hosted import HostedServiceSettings
from habla_ml.transcription.audio_check import split_usable_clips
from habla_ml.transcription.engine import Clip, Hypothesis, Transcriber, Usage
from habla_ml.transcription.hosted.retries import CallResult, call_with_retries
from habla_ml.transcription.hosted.service import CallError, EncodedClip, FaultKind, SpeechService
from habla_ml.transcription.hosted.spending import Spending, compute_call_cost_usd
from habla_ml.transcription.options import HostedOptions

MAX_UNANSWERED_CLIPS: Final = 5
"""After so many clips in a row without an answer, the service counts as down and gets no more clips."""

_BATCH_CLIPS: Final = 64
_OUTAGE_KINDS: Final[tuple[FaultKind, ...]] = ("busy", "malformed")


class HostedTranscriber:
    """Sends clips to a service, several at the same time, without exceeding the spending cap.

    `transcribe` reserves the cost of all its clips before it sends the first. A clip without an answer becomes a failure
    `service`; with a `fallback`, the local engine decodes it and `fallback_engine` names that engine. A service that is
    down or configured wrongly raises an error. If other clips of the same call were paid, they are returned first, and
    the next call raises the error. Use it from one thread at a time.
    """

    def __init__(
        self,
        options: HostedOptions,
        settings: HostedServiceSettings,
        service: SpeechService,
        spending: Spending,
        fallback: Transcriber | None = None,
    ) -> None:
        self.options = options
        self.usage = Usage()
        """`audio_s` is the audio that the service answered, since only that is paid; `decode_s` includes the fallback."""
        self.batch_clips = _BATCH_CLIPS
        self._settings = settings
        self._service = service
        self._spending = spending
        self._fallback = fallback
        self._lock = threading.Lock()
        self._consecutive_unanswered = 0
        self._fatal_fault: CallError | None = None

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Transcriber.transcribe`.

        Raises:
            EvaluationError: The cap is reached, the key is refused, or the service is down without a fallback; no
                clip of this call was transcribed.
        """
        self._check_working()
        usable, found = split_usable_clips(clips)
        if usable:
            began_s = time.perf_counter()
            found.update(self._transcribe_all(usable))
            self.usage += Usage(decode_s=time.perf_counter() - began_s)
        return [found[at] for at in range(len(clips))]

    def transcribe_batches(self, batches: Iterable[Sequence[Clip]]) -> Iterator[list[Hypothesis]]:
        """See `Transcriber.transcribe_batches`."""
        return map(self.transcribe, batches)

    def close(self) -> None:
        """See `Transcriber.close`."""
        self._service.close()
        if self._fallback is not None:
            self._fallback.close()

    def _transcribe_all(self, clips: Mapping[int, Clip]) -> dict[int, Hypothesis]:
        prices = [compute_call_cost_usd(self._settings, clip.duration_s) for clip in clips.values()]
        month = self._spending.reserve(sum(prices))
        with ThreadPoolExecutor(self._settings.calls_at_once) as threads:
            results = dict(zip(clips, threads.map(self._transcribe_clip, clips.values()), strict=True))
        paid_usd = sum(each.paid_usd for each in results.values())
        extra_reserved_usd = sum(each.extra_reserved_usd for each in results.values())
        self._spending.refund(month, sum(prices) + extra_reserved_usd - paid_usd)
        answered_s = sum(clips[at].duration_s for at, each in results.items() if each.fault is None)
        self.usage += Usage(answered_s, cost_usd=paid_usd)
        hypotheses = {at: each.build_hypothesis(clips[at]) for at, each in results.items()}
        if all(each.fault is not None for each in results.values()):
            self._check_working()
        down = [at for at, each in results.items() if each.fault is not None and each.fault.kind in _OUTAGE_KINDS]
        return {**hypotheses, **self._fall_back(clips, hypotheses, down)}

    def _transcribe_clip(self, clip: Clip) -> CallResult:
        """Transcribe one clip, in a thread of the pool."""
        fatal = self._fatal_fault
        if fatal is not None:
            return CallResult(fault=CallError(f"not sent: {fatal.reason}", fatal.kind))
        recording = EncodedClip(encode_flac(clip.audio), clip.duration_s)
        result = call_with_retries(
            self._service, recording, self._settings, self._spending, self.options.clip_timeout_s
        )
        with self._lock:
            self._record_fault(result.fault)
        return result

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
        """Raise `EvaluationError` for a wrong setup, and for a service that is down unless there is a fallback."""
        if self._fatal_fault is None:
            return
        if self._fatal_fault.kind == "setup":
            raise EvaluationError(self._fatal_fault.reason)
        if self._fallback is None:
            raise EvaluationError(
                f"{self.options.engine} is down: {MAX_UNANSWERED_CLIPS} clips in a row got no answer, the last error: "
                f"{self._fatal_fault.reason}; run again later, finished clips are cached"
            )
        self._fatal_fault, self._consecutive_unanswered = None, MAX_UNANSWERED_CLIPS - 1

    def _fall_back(
        self, clips: Mapping[int, Clip], hypotheses: Mapping[int, Hypothesis], down: Sequence[int]
    ) -> dict[int, Hypothesis]:
        if self._fallback is None or not down:
            return {}
        local = self._fallback.transcribe([clips[at] for at in down])
        name = self._fallback.options.engine
        return {
            at: replace(each, fallback_engine=name, reason=hypotheses[at].reason)
            for at, each in zip(down, local, strict=True)
            if each.failure is None
        }
