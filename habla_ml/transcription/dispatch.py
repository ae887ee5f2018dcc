"""Keeping a decoding process busy, and finding the clip that it hangs in or dies of."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import Clip, Failure, Hypothesis
from habla_ml.transcription.engine_process import EngineProcess
from habla_ml.transcription.messages import EngineAnswer, pack_clips
from habla_ml.transcription.options import DecodingOptions

_MAX_CONSECUTIVE_CRASHES: Final = 5
"""So many clips that crash without one between them that is decoded are the engine's fault."""


class ProcessOwner(Protocol):
    """Whoever starts and ends the process; it outlives a call."""

    consecutive_crashes: int

    @property
    def options(self) -> DecodingOptions:
        """How it decodes."""
        ...

    def ensure_process(self) -> EngineProcess:
        """A process that is loaded."""
        ...

    def record_peak_memory(self, answer: EngineAnswer) -> None:
        """Told every answer with hypotheses."""
        ...

    def stop_process(self) -> str:
        """End the process; how it ended."""
        ...


def dispatch(clips: Mapping[int, Clip], owner: ProcessOwner) -> dict[int, Hypothesis]:
    """Decode usable clips; the keys are the caller's.

    Raises:
        EvaluationError: The engine cannot work: it says so, or dies of one clip after the other.
    """
    try:
        return _Dispatcher(clips, owner).run()
    except BaseException:
        owner.stop_process()  # else late answers would meet the next call
        raise


@dataclass(frozen=True)
class _PendingRequest:
    """A request on its way."""

    keys: tuple[int, ...]
    sent_s: float
    limit_s: float
    is_alone: bool
    """The process has nothing else to do: if it dies, this clip did it."""

    @property
    def deadline_s(self) -> float:
        return self.sent_s + self.limit_s


class _Dispatcher:
    def __init__(self, clips: Mapping[int, Clip], owner: ProcessOwner) -> None:
        self._clips = clips
        self._owner = owner
        self._waiting = deque(clips)
        self._suspects: deque[int] = deque()
        self._pending: dict[float, _PendingRequest] = {}
        self._requests = 0
        self._hypotheses: dict[int, Hypothesis] = {}

    def run(self) -> dict[int, Hypothesis]:
        while self._waiting or self._suspects or self._pending:
            if not self._pending:
                process = self._owner.ensure_process()
            self._send_batches(process)
            try:
                answered = process.receive(
                    min(each.deadline_s for each in self._pending.values()) - time.monotonic()
                )
            except TimeoutError:
                self._handle_timeout()
                continue
            if answered is None:
                self._handle_process_exit()
            else:
                self._handle_answer(*answered)
        return self._hypotheses

    def _send_batches(self, process: EngineProcess) -> None:
        if any(each.is_alone for each in self._pending.values()):
            return
        if self._suspects:
            if not self._pending:
                self._send(process, (self._suspects.popleft(),), is_alone=True)
            return
        while self._waiting and len(self._pending) < process.parallel_batches:
            at_once = min(len(self._waiting), process.max_batch_clips)
            self._send(process, tuple(self._waiting.popleft() for _ in range(at_once)), is_alone=False)

    def _send(self, process: EngineProcess, keys: tuple[int, ...], *, is_alone: bool) -> None:
        self._requests += 1
        limit_s = self._owner.options.clip_timeout_s * len(keys)
        self._pending[self._requests] = _PendingRequest(keys, time.monotonic(), limit_s, is_alone)
        process.send(self._requests, pack_clips([self._clips[key] for key in keys]))

    def _handle_answer(self, number: float, answer: EngineAnswer) -> None:
        sent = self._pending.pop(number)
        if answer.kind == "refused":
            raise EvaluationError(answer.reason)
        if answer.kind == "crashed":
            self._retry_or_fail(sent, answer.reason)
            return
        self._hypotheses.update(zip(sent.keys, answer.hypotheses, strict=True))
        self._owner.consecutive_crashes = 0
        self._owner.record_peak_memory(answer)

    def _handle_timeout(self) -> None:
        self._owner.stop_process()
        sent, self._pending = list(self._pending.values()), {}
        now_s = time.monotonic()
        for each in sent:
            if each.deadline_s > now_s:
                self._waiting.extendleft(reversed(each.keys))
            elif len(each.keys) > 1 or len(sent) > 1:
                # Another clip may have held up the whole process.
                self._suspects.extend(each.keys)
            else:
                reason = f"took longer than the {each.limit_s:g} s of clip_timeout_s"
                self._record_failure(each.keys[0], "timeout", reason, now_s - each.sent_s)

    def _handle_process_exit(self) -> None:
        how = self._owner.stop_process()
        sent, self._pending = list(self._pending.values()), {}
        for each in sent:
            self._retry_or_fail(each, f"the decoding process died of it: {how}")

    def _retry_or_fail(self, sent: _PendingRequest, reason: str) -> None:
        if not sent.is_alone:
            self._suspects.extend(sent.keys)
            return
        self._owner.consecutive_crashes += 1
        if self._owner.consecutive_crashes >= _MAX_CONSECUTIVE_CRASHES:
            raise EvaluationError(
                f"{self._owner.options.engine} failed on {_MAX_CONSECUTIVE_CRASHES} clips in a row, each alone; the "
                f"last time: {reason}. Convert the checkpoint again, give it more memory, or use another engine"
            )
        self._record_failure(sent.keys[0], "crash", reason, time.monotonic() - sent.sent_s)

    def _record_failure(self, key: int, failure: Failure, reason: str, took_s: float) -> None:
        clip = self._clips[key]
        self._hypotheses[key] = Hypothesis(clip.audio_sha256, "", took_s, clip.duration_s, failure, reason)
