"""Keeping a decoding process busy, and finding the clip that it hangs in or dies of."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from habla_ml.errors import EvaluationError
from habla_ml.transcription.child import EngineProcess
from habla_ml.transcription.engine import Clip, Failure, Hypothesis
from habla_ml.transcription.messages import Answer, pack_clips
from habla_ml.transcription.options import DecodingOptions

_MOST_CRASHES_IN_A_ROW: Final = 5
"""So many clips that crash without one between them that is decoded are the engine's fault."""


class ProcessOwner(Protocol):
    """Whoever starts and ends the process; it outlives a call."""

    crashes_in_a_row: int

    @property
    def options(self) -> DecodingOptions:
        """How it decodes."""
        ...

    def running(self) -> EngineProcess:
        """A process that is loaded."""
        ...

    def note_memory(self, answer: Answer) -> None:
        """Told every answer with hypotheses."""
        ...

    def end(self) -> str:
        """End the process; how it ended."""
        ...


def dispatch(clips: Mapping[int, Clip], owner: ProcessOwner) -> dict[int, Hypothesis]:
    """Decode usable clips; the keys are the caller's.

    Raises:
        EvaluationError: The engine cannot work: it says so, or dies of one clip after the other.
    """
    try:
        return _Dispatch(clips, owner).run()
    except BaseException:
        owner.end()  # else late answers would meet the next call
        raise


@dataclass(frozen=True)
class _Sent:
    """A request on its way."""

    keys: tuple[int, ...]
    sent_s: float
    limit_s: float
    is_alone: bool
    """The process has nothing else to do: if it dies, this clip did it."""

    @property
    def deadline_s(self) -> float:
        return self.sent_s + self.limit_s


class _Dispatch:
    def __init__(self, clips: Mapping[int, Clip], owner: ProcessOwner) -> None:
        self._clips = clips
        self._owner = owner
        self._waiting = deque(clips)
        self._suspects: deque[int] = deque()
        self._sent: dict[float, _Sent] = {}
        self._requests = 0
        self._found: dict[int, Hypothesis] = {}

    def run(self) -> dict[int, Hypothesis]:
        while self._waiting or self._suspects or self._sent:
            if not self._sent:
                process = self._owner.running()
            self._fill(process)
            try:
                answered = process.receive(min(each.deadline_s for each in self._sent.values()) - time.monotonic())
            except TimeoutError:
                self._give_up_the_late()
                continue
            if answered is None:
                self._blame_the_sent()
            else:
                self._take(*answered)
        return self._found

    def _fill(self, process: EngineProcess) -> None:
        if any(each.is_alone for each in self._sent.values()):
            return
        if self._suspects:
            if not self._sent:
                self._send(process, (self._suspects.popleft(),), is_alone=True)
            return
        while self._waiting and len(self._sent) < process.side_by_side:
            at_once = min(len(self._waiting), process.clips_at_once)
            self._send(process, tuple(self._waiting.popleft() for _ in range(at_once)), is_alone=False)

    def _send(self, process: EngineProcess, keys: tuple[int, ...], *, is_alone: bool) -> None:
        self._requests += 1
        limit_s = self._owner.options.clip_timeout_s * len(keys)
        self._sent[self._requests] = _Sent(keys, time.monotonic(), limit_s, is_alone)
        process.send(self._requests, pack_clips([self._clips[key] for key in keys]))

    def _take(self, number: float, answer: Answer) -> None:
        sent = self._sent.pop(number)
        if answer.kind == "refused":
            raise EvaluationError(answer.reason)
        if answer.kind == "crashed":
            self._suspect(sent, answer.reason)
            return
        self._found.update(zip(sent.keys, answer.hypotheses, strict=True))
        self._owner.crashes_in_a_row = 0
        self._owner.note_memory(answer)

    def _give_up_the_late(self) -> None:
        self._owner.end()
        sent, self._sent = list(self._sent.values()), {}
        now_s = time.monotonic()
        for each in sent:
            if each.deadline_s > now_s:
                self._waiting.extendleft(reversed(each.keys))
            elif len(each.keys) > 1 or len(sent) > 1:
                # Another clip may have held up the whole process.
                self._suspects.extend(each.keys)
            else:
                reason = f"took longer than the {each.limit_s:g} s of clip_timeout_s"
                self._fail(each.keys[0], "timeout", reason, now_s - each.sent_s)

    def _blame_the_sent(self) -> None:
        how = self._owner.end()
        sent, self._sent = list(self._sent.values()), {}
        for each in sent:
            self._suspect(each, f"the decoding process died of it: {how}")

    def _suspect(self, sent: _Sent, reason: str) -> None:
        if not sent.is_alone:
            self._suspects.extend(sent.keys)
            return
        self._owner.crashes_in_a_row += 1
        if self._owner.crashes_in_a_row >= _MOST_CRASHES_IN_A_ROW:
            raise EvaluationError(
                f"{self._owner.options.engine} failed on {_MOST_CRASHES_IN_A_ROW} clips in a row, each alone; the "
                f"last time: {reason}. Convert the checkpoint again, give it more memory, or use another engine"
            )
        self._fail(sent.keys[0], "crash", reason, time.monotonic() - sent.sent_s)

    def _fail(self, key: int, failure: Failure, reason: str, took_s: float) -> None:
        clip = self._clips[key]
        self._found[key] = Hypothesis(clip.audio_sha256, "", took_s, clip.duration_s, failure, reason)
