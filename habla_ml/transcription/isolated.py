"""A transcriber whose engine runs in its own process, so that a hang or a crash costs one clip."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from habla_ml.errors import EvaluationError
from habla_ml.transcription.audio_check import split_usable_clips
from habla_ml.transcription.engine import Clip, Failure, Hypothesis, Usage, load_engine_class
from habla_ml.transcription.engine_process import EngineProcess
from habla_ml.transcription.messages import EngineAnswer, StartRequest, pack_clips
from habla_ml.transcription.options import DecodingOptions

_MAX_CONSECUTIVE_CRASHES: Final = 5
"""After this many crashes without a decoded clip in between, the engine is at fault and not the clips."""
_FEWEST_CLIPS: Final = 64
"""At the end of a batch workers are idle, so batches are large; a clip of 30 s takes 2 MB, so not too large."""


class IsolatedTranscriber:
    """A `Transcriber` whose engine runs in a child process, which starts with the first clip.

    A clip that takes longer than `clip_timeout_s` (for a batch: times its clips) ends the process, as a crash does. The
    clip is decoded again alone, unless it timed out alone, and is recorded as a timeout or a crash if it fails again.
    Use it from one thread at a time.
    """

    def __init__(
        self, model_folder: Path, options: DecodingOptions, device: str = "auto", cpu_threads: int = 0
    ) -> None:
        """Check the options without loading anything; for the arguments see `Engine.__init__`.

        Raises:
            EvaluationError: The engine does not support an option that is set.
        """
        options.check_supported(load_engine_class(options.engine).supported_options)
        self.options = options
        self.usage = Usage()
        self.batch_clips = max(_FEWEST_CLIPS, 2 * (options.batch_size or 1))
        self._start = StartRequest(model_folder=model_folder, options=options, device=device, cpu_threads=cpu_threads)
        self._process: EngineProcess | None = None
        self._loading_s = 0.0
        self._consecutive_crashes = 0

    @property
    def pid(self) -> int | None:
        """Id of the decoding process; None where none runs."""
        return self._process.pid if self._process is not None and self._process.is_alive else None

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Transcriber.transcribe`; a crash on one clip after the other is an error of the engine."""
        usable, found = split_usable_clips(clips)
        began_s, loading_s = time.perf_counter(), self._loading_s
        try:
            found.update(_Dispatcher(usable, self).run())
        except BaseException:
            self.stop()  # otherwise the next call would receive late answers
            raise
        decode_s = time.perf_counter() - began_s - (self._loading_s - loading_s)
        self.usage += Usage(sum(each.duration_s for each in usable.values()), decode_s)
        return [found[at] for at in range(len(clips))]

    def transcribe_batches(self, batches: Iterable[Sequence[Clip]]) -> Iterator[list[Hypothesis]]:
        """See `Transcriber.transcribe_batches`."""
        return map(self.transcribe, batches)

    def close(self) -> None:
        """See `Transcriber.close`; the next clip would start another process."""
        self.stop()

    def ensure_process(self) -> EngineProcess:
        """Return the running process, starting it if needed; raise `EvaluationError` if it cannot be used."""
        if self.pid is None:
            self.stop()
        if self._process is None:
            began_s = time.perf_counter()
            self._process = EngineProcess(self._start)
            self._loading_s += time.perf_counter() - began_s
        return self._process

    def stop(self) -> str:
        """End the process, if one runs; return how it ended."""
        running, self._process = self._process, None
        return "" if running is None else running.close()

    def record_success(self, answer: EngineAnswer) -> None:
        """Keep the peak memory that an answer reports, and start counting crashes from zero."""
        self._consecutive_crashes = 0
        self.usage += Usage(
            peak_memory_bytes=answer.peak_memory_bytes, peak_gpu_memory_bytes=answer.peak_gpu_memory_bytes
        )

    def record_crash(self, reason: str) -> None:
        """Raise `EvaluationError` after several crashes in a row, each on a clip that was decoded alone."""
        self._consecutive_crashes += 1
        if self._consecutive_crashes >= _MAX_CONSECUTIVE_CRASHES:
            raise EvaluationError(
                f"{self.options.engine} failed on {_MAX_CONSECUTIVE_CRASHES} clips in a row, each decoded alone; the "
                f"last failure: {reason}. Convert the checkpoint again, free memory, or use another engine"
            )


@dataclass(frozen=True)
class _PendingRequest:
    """A request without an answer yet."""

    keys: tuple[int, ...]
    sent_s: float
    limit_s: float
    is_alone: bool
    """The process does nothing else, so a crash is caused by this clip."""

    @property
    def deadline_s(self) -> float:
        return self.sent_s + self.limit_s


class _Dispatcher:
    """Sends clips to the decoding process, and finds the clip that makes it hang or crash."""

    def __init__(self, clips: Mapping[int, Clip], transcriber: IsolatedTranscriber) -> None:
        self._clips = clips
        self._transcriber = transcriber
        self._waiting = deque(clips)
        self._suspects: deque[int] = deque()
        self._pending: dict[float, _PendingRequest] = {}
        self._requests = 0
        self._hypotheses: dict[int, Hypothesis] = {}

    def run(self) -> dict[int, Hypothesis]:
        """Return the hypotheses under the caller's keys."""
        while self._waiting or self._suspects or self._pending:
            if not self._pending:
                running = self._transcriber.ensure_process()
            self._send_batches(running)
            deadline_s = min(each.deadline_s for each in self._pending.values())
            try:
                answered = running.receive(deadline_s - time.monotonic())
            except TimeoutError:
                self._handle_timeout()
                continue
            if answered is None:
                exit_text = self._transcriber.stop()
                for each in self._take_pending():
                    self._retry_or_fail(each, f"the decoding process crashed on it: {exit_text}")
            else:
                self._handle_answer(*answered)
        return self._hypotheses

    def _send_batches(self, running: EngineProcess) -> None:
        if any(each.is_alone for each in self._pending.values()):
            return
        if self._suspects:
            if not self._pending:
                self._send(running, (self._suspects.popleft(),), is_alone=True)
            return
        while self._waiting and len(self._pending) < running.parallel_batches:
            count = min(len(self._waiting), running.max_batch_clips)
            self._send(running, tuple(self._waiting.popleft() for _ in range(count)), is_alone=False)

    def _send(self, running: EngineProcess, keys: tuple[int, ...], *, is_alone: bool) -> None:
        self._requests += 1
        limit_s = self._transcriber.options.clip_timeout_s * len(keys)
        self._pending[self._requests] = _PendingRequest(keys, time.monotonic(), limit_s, is_alone)
        running.send(self._requests, pack_clips([self._clips[key] for key in keys]))

    def _take_pending(self) -> list[_PendingRequest]:
        sent, self._pending = list(self._pending.values()), {}
        return sent

    def _handle_answer(self, number: float, answer: EngineAnswer) -> None:
        sent = self._pending.pop(number)
        if answer.kind == "refused":
            raise EvaluationError(answer.reason)
        if answer.kind == "crashed":
            self._retry_or_fail(sent, answer.reason)
            return
        self._hypotheses.update(zip(sent.keys, answer.hypotheses, strict=True))
        self._transcriber.record_success(answer)

    def _handle_timeout(self) -> None:
        self._transcriber.stop()
        sent, now_s = self._take_pending(), time.monotonic()
        for each in sent:
            if each.deadline_s > now_s:
                self._waiting.extendleft(reversed(each.keys))
            elif len(each.keys) > 1 or len(sent) > 1:
                # Another clip may have blocked the whole process.
                self._suspects.extend(each.keys)
            else:
                self._record_failure(each, "timeout", f"took longer than the {each.limit_s:g} s of clip_timeout_s")

    def _retry_or_fail(self, sent: _PendingRequest, reason: str) -> None:
        if not sent.is_alone:
            self._suspects.extend(sent.keys)
            return
        self._transcriber.record_crash(reason)
        self._record_failure(sent, "crash", reason)

    def _record_failure(self, sent: _PendingRequest, failure: Failure, reason: str) -> None:
        (key,) = sent.keys
        decode_s = time.monotonic() - sent.sent_s
        self._hypotheses[key] = Hypothesis.failed(self._clips[key], failure, reason, decode_s)
