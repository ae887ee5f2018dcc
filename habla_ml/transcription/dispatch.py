"""Sends clips to a decoding process, and finds the clip that makes it hang or crash."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import Clip, Failure, Hypothesis
from habla_ml.transcription.engine_process import EngineProcess, RestartableProcess
from habla_ml.transcription.messages import EngineAnswer, pack_clips

_MAX_CONSECUTIVE_CRASHES: Final = 5
"""After this many crashes without a decoded clip in between, the engine is at fault and not the clips."""


def dispatch(clips: Mapping[int, Clip], process: RestartableProcess) -> dict[int, Hypothesis]:
    """Decode usable clips and return their hypotheses under the caller's keys.

    Raises:
        EvaluationError: The engine reports that it cannot work, or crashes on one clip after the other.
    """
    try:
        return _Dispatcher(clips, process).run()
    except BaseException:
        process.stop()  # otherwise the next call would receive late answers
        raise


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
    def __init__(self, clips: Mapping[int, Clip], process: RestartableProcess) -> None:
        self._clips = clips
        self._process = process
        self._waiting = deque(clips)
        self._suspects: deque[int] = deque()
        self._pending: dict[float, _PendingRequest] = {}
        self._requests = 0
        self._hypotheses: dict[int, Hypothesis] = {}

    def run(self) -> dict[int, Hypothesis]:
        while self._waiting or self._suspects or self._pending:
            if not self._pending:
                running = self._process.ensure()
            self._send_batches(running)
            try:
                answered = running.receive(min(each.deadline_s for each in self._pending.values()) - time.monotonic())
            except TimeoutError:
                self._handle_timeout()
                continue
            if answered is None:
                self._handle_process_exit()
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
        limit_s = self._process.options.clip_timeout_s * len(keys)
        self._pending[self._requests] = _PendingRequest(keys, time.monotonic(), limit_s, is_alone)
        running.send(self._requests, pack_clips([self._clips[key] for key in keys]))

    def _handle_answer(self, number: float, answer: EngineAnswer) -> None:
        sent = self._pending.pop(number)
        if answer.kind == "refused":
            raise EvaluationError(answer.reason)
        if answer.kind == "crashed":
            self._retry_or_fail(sent, answer.reason)
            return
        self._hypotheses.update(zip(sent.keys, answer.hypotheses, strict=True))
        self._process.consecutive_crashes = 0
        self._process.record_peaks(answer)

    def _handle_timeout(self) -> None:
        self._process.stop()
        sent, self._pending = list(self._pending.values()), {}
        now_s = time.monotonic()
        for each in sent:
            if each.deadline_s > now_s:
                self._waiting.extendleft(reversed(each.keys))
            elif len(each.keys) > 1 or len(sent) > 1:
                # Another clip may have blocked the whole process.
                self._suspects.extend(each.keys)
            else:
                reason = f"took longer than the {each.limit_s:g} s of clip_timeout_s"
                self._record_failure(each.keys[0], "timeout", reason, now_s - each.sent_s)

    def _handle_process_exit(self) -> None:
        exit_text = self._process.stop()
        sent, self._pending = list(self._pending.values()), {}
        for each in sent:
            self._retry_or_fail(each, f"the decoding process crashed on it: {exit_text}")

    def _retry_or_fail(self, sent: _PendingRequest, reason: str) -> None:
        if not sent.is_alone:
            self._suspects.extend(sent.keys)
            return
        self._process.consecutive_crashes += 1
        if self._process.consecutive_crashes >= _MAX_CONSECUTIVE_CRASHES:
            raise EvaluationError(
                f"{self._process.options.engine} failed on {_MAX_CONSECUTIVE_CRASHES} clips in a row, each decoded "
                f"alone; the last failure: {reason}. Convert the checkpoint again, free memory, or use another engine"
            )
        self._record_failure(sent.keys[0], "crash", reason, time.monotonic() - sent.sent_s)

    def _record_failure(self, key: int, failure: Failure, reason: str, decode_s: float) -> None:
        clip = self._clips[key]
        self._hypotheses[key] = Hypothesis(clip.audio_sha256, "", decode_s, clip.duration_s, failure, reason)
