"""The pace of a run, the time and memory that the rest of it needs, measured on its own steps.

Time follows the encoder's input, padding included, so short and full windows are weighed by their length. The first step
also starts the libraries and does not count where there are others.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from habla_ml.process import read_memory_bytes
from habla_ml.training.schedule import ClipUse
from habla_ml.training.windows import FRAMES_PER_S
from habla_ml.training.world import read_world

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEWEST_STEPS, _MOST_STEPS, _STEPS_SHARE = 3, 20, 0.25
_ENOUGH_S, _LONG_STEP_S = 15.0, 60.0
"""An estimate has its fewest steps and this time in all, its most steps or a quarter of the run, or one step of the long time."""
_TRAINING_BYTES: Final = 12
"""Of each trained parameter in float32: its gradient and AdamW's two moments."""


@dataclass(frozen=True)
class Workload:
    """The work of the first n steps at index n of each array, so that index 0 has none."""

    clips: NDArray[np.int64]
    speech_s: NDArray[np.float64]
    window_s: NDArray[np.float64]
    """Encoder input, padding included."""
    largest_batch_s: NDArray[np.float64]
    """Encoder input of the largest batch so far."""
    n_clips: int
    """Clips of one epoch."""

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.clips) - 1


def measure_workload(
    batches: Iterable[Sequence[ClipUse]], batches_per_step: int, durations_s: NDArray[np.float64]
) -> Workload:
    """Return the work of a run from the clips of its batches and the duration of each clip."""
    clips, speech_s, window_s, largest_s = [0], [0.0], [0.0], [0.0]
    found = iter(batches)
    while step := list(islice(found, batches_per_step)):
        windows_s = [sum(use.n_frames for use in batch) / FRAMES_PER_S for batch in step]
        clips.append(sum(map(len, step)))
        speech_s.append(sum(float(durations_s[use.clip]) for batch in step for use in batch))
        window_s.append(sum(windows_s))
        largest_s.append(max(windows_s))
    return Workload(
        np.cumsum(clips),
        np.cumsum(speech_s),
        np.cumsum(window_s),
        np.maximum.accumulate(np.array(largest_s)),
        len(durations_s),
    )


@dataclass(frozen=True)
class Pace:
    """How fast a run trains; validation counts in the remaining time only."""

    epoch: float
    """How often the clips were used on average."""
    clips_per_h: float
    speech_h_per_h: float
    remaining_s: float
    """At most, as early stopping may end the run."""
    memory_bytes: int
    """Peak so far, of the GPU if there is one, else of the process."""

    def describe(self) -> str:
        """Return it for a line of the log."""
        return (
            f"epoch {self.epoch:.2f}, {self.clips_per_h:,.0f} clips/h, {self.speech_h_per_h:.1f} h of speech/h, "
            f"{self.memory_bytes / 1e9:.1f} GB"
        )

    def to_metrics(self) -> dict[str, float]:
        """Return it as numbers for TensorBoard and other trackers."""
        return {
            "clips_per_h": self.clips_per_h,
            "speech_h_per_h": self.speech_h_per_h,
            "remaining_s": self.remaining_s,
            "memory_gb": self.memory_bytes / 1e9,
        }


@dataclass(frozen=True)
class RunEstimate:
    """What the rest of a run needs, from its first steps."""

    steps: int
    """That were timed."""
    pace: Pace
    memory_bytes: int
    """Peak with the largest batch."""
    available_bytes: int
    """Memory of the GPU if there is one, else this process's part of that of the machine or container."""

    def describe(self) -> str:
        """Return it for a line of the log."""
        return (
            f"estimate from {self.steps} steps: at most about {format_duration(self.pace.remaining_s)} and validation; about "
            f"{self.memory_bytes / 1e9:.1f} GB of {self.available_bytes / 1e9:.1f} GB memory; "
            f"{self.pace.clips_per_h:,.0f} clips/h, {self.pace.speech_h_per_h:.1f} h of speech/h"
        )


class PaceMeter:
    """Measures the steps and evaluations of one attempt; call its methods at the events of their names."""

    def __init__(self, workload: Workload, evaluate_every_steps: int) -> None:
        self._workload, self._evaluate_every_steps = workload, evaluate_every_steps
        self._first = 0
        self._step_times_s: list[float] = []
        self._evaluation_times_s: list[float] = []
        self._mark = time.monotonic()
        self._baseline_bytes = self._trained_bytes = 0
        self._is_estimated = False

    def begin(self, step: int, model: Any) -> None:
        """Start after `step`, with a loaded model whose optimizer has no state yet."""
        self._first, self._mark = step, time.monotonic()
        self._baseline_bytes = read_peak_memory()
        n_trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        self._trained_bytes = _TRAINING_BYTES * n_trained

    def end_step(self) -> None:
        """Count the time since the last event as that of a step."""
        self._step_times_s.append(self._lap())

    def end_evaluation(self) -> None:
        """Count the time since the last event as that of an evaluation."""
        self._evaluation_times_s.append(self._lap())

    def end_save(self) -> None:
        """Count the time since the last event as nothing."""
        self._lap()

    def measure(self) -> Pace:
        """Return the pace after at least one step."""
        work, n_timed = self._workload, len(self._step_times_s)
        skipped = 1 if n_timed > 1 else 0
        first, step = self._first + skipped, self._first + n_timed
        train_s = max(sum(self._step_times_s[skipped:]), 1e-9)
        # The last step is evaluated too, also where it is no multiple.
        evaluations = math.ceil(work.n_steps / self._evaluate_every_steps) - step // self._evaluate_every_steps
        mean_evaluation_s = float(np.mean(self._evaluation_times_s)) if self._evaluation_times_s else 0.0
        per_window_s = train_s / float(work.window_s[step] - work.window_s[first])
        return Pace(
            epoch=float(work.clips[step]) / work.n_clips,
            clips_per_h=3600 * float(work.clips[step] - work.clips[first]) / train_s,
            speech_h_per_h=float(work.speech_s[step] - work.speech_s[first]) / train_s,
            remaining_s=per_window_s * float(work.window_s[-1] - work.window_s[step]) + evaluations * mean_evaluation_s,
            memory_bytes=read_peak_memory(),
        )

    def estimate(self) -> RunEstimate | None:
        """Return the estimate once, at the step that completes the timed ones; None at all others."""
        times_s = self._step_times_s
        if self._is_estimated or not self._has_enough(times_s):
            return None
        self._is_estimated = True
        work, pace = self._workload, self.measure()
        static = self._baseline_bytes + self._trained_bytes
        seen_s = float(work.largest_batch_s[self._first + len(times_s)])
        activations = max(0, pace.memory_bytes - static) * float(work.largest_batch_s[-1]) / seen_s
        return RunEstimate(len(times_s), pace, round(static + activations), read_total_memory())

    def _has_enough(self, times_s: Sequence[float]) -> bool:
        left = self._workload.n_steps - self._first
        most = min(left, max(_FEWEST_STEPS, min(_MOST_STEPS, int(_STEPS_SHARE * left))))
        has_time = len(times_s) >= _FEWEST_STEPS and sum(times_s) >= _ENOUGH_S
        return len(times_s) >= most or has_time or times_s[-1] >= _LONG_STEP_S

    def _lap(self) -> float:
        now = time.monotonic()
        took, self._mark = now - self._mark, now
        return took


def log_pace(trainer_class: type[Any], meter: PaceMeter) -> type[Any]:
    """Return a subclass of a `Trainer` whose logs have the pace."""

    class PacedTrainer(trainer_class):  # type: ignore[misc]
        def log(self, logs: dict[str, float], *arguments: Any) -> None:
            pace = meter.measure()
            self.state.epoch = pace.epoch  # the sampler has the whole run as one epoch
            if "loss" in logs:
                logs.update(pace.to_metrics())
            super().log(logs, *arguments)

    return PacedTrainer


def build_pace_callback(meter: PaceMeter) -> Any:
    """Return a `TrainerCallback` that calls the meter; the callbacks after it can read it."""
    from transformers import TrainerCallback

    class PaceCallback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, _args: Any, state: Any, _control: Any, model: Any, **_: Any) -> None:
            meter.begin(state.global_step, model)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.end_step()

        def on_evaluate(self, *_: Any, **__: Any) -> None:
            meter.end_evaluation()

        def on_save(self, *_: Any, **__: Any) -> None:
            meter.end_save()

    return PaceCallback()


def read_peak_memory() -> int:
    """Return the bytes that PyTorch allocated on the GPU at most; without a GPU, those of the process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux KiB


def read_total_memory() -> int:
    """Return the bytes of the GPU's memory; without a GPU, this process's part of those of the machine or container."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1])
    return read_memory_bytes() // read_world().local_size


def format_duration(seconds: float) -> str:
    """Return a duration with its unit: seconds up to two minutes, minutes up to two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
