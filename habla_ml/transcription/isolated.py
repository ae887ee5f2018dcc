"""An engine in a process of its own: what hangs or dies there costs one clip."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from habla_ml.transcription.audio_check import find_audio_fault
from habla_ml.transcription.dispatch import dispatch
from habla_ml.transcription.engine import Clip, Hypothesis, Usage, load_engine_class
from habla_ml.transcription.engine_process import EngineProcess
from habla_ml.transcription.messages import EngineAnswer, StartRequest
from habla_ml.transcription.options import DecodingOptions


class IsolatedTranscriber:
    """A `Transcriber` whose engine runs in a child process; the process starts with the first clip.

    A clip that takes longer than `clip_timeout_s` (a batch: that for each of its clips) ends the process, and so does
    one that kills it. Either is then tried again alone (a late one only if it had neighbours, who may be to blame), and
    recorded as a timeout or a crash if it does it again. Use it from one thread at a time.
    """

    def __init__(
        self, model_folder: Path, options: DecodingOptions, device: str = "auto", cpu_threads: int = 0
    ) -> None:
        """Check the options; nothing is loaded yet.

        Args:
            model_folder: In the engine's own format.
            options: Which engine, and how it decodes.
            device: `cpu`, `cuda` or `auto`.
            cpu_threads: Cores to use; 0 is all of them.

        Raises:
            EvaluationError: The engine does not know an option that is set.
        """
        options.check_supported(load_engine_class(options.engine).supported_options)
        self._start = StartRequest(
            model_folder=model_folder, options=options, device=device, cpu_threads=cpu_threads
        )
        self._process: EngineProcess | None = None
        self._usage = Usage()
        self._loading_s = 0.0
        self.consecutive_crashes = 0
        """Clips recorded as a crash since one was decoded."""

    @property
    def options(self) -> DecodingOptions:
        """See `Transcriber.options`."""
        return self._start.options

    @property
    def usage(self) -> Usage:
        """See `Transcriber.usage`."""
        return self._usage

    @property
    def pid(self) -> int | None:
        """The decoding process, where one runs."""
        return self._process.pid if self._process is not None and self._process.is_alive else None

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Transcriber.transcribe`."""
        found: dict[int, Hypothesis] = {}
        for at, clip in enumerate(clips):
            fault = find_audio_fault(clip.audio)
            if fault is not None:
                found[at] = Hypothesis(clip.audio_sha256, "", 0.0, clip.duration_s, "audio", fault)
        usable = {at: clip for at, clip in enumerate(clips) if at not in found}
        began_s, loading_s = time.perf_counter(), self._loading_s
        found.update(dispatch(usable, self))
        took_s = time.perf_counter() - began_s - (self._loading_s - loading_s)
        self._usage = replace(
            self._usage,
            audio_s=self._usage.audio_s + sum(each.duration_s for each in usable.values()),
            decode_s=self._usage.decode_s + took_s,
        )
        return [found[at] for at in range(len(clips))]

    def ensure_process(self) -> EngineProcess:
        """The decoding process, started where there is none; raises `EvaluationError` where it cannot work."""
        if self._process is not None and not self._process.is_alive:
            self.stop_process()
        if self._process is None:
            began_s = time.perf_counter()
            self._process = EngineProcess(self._start)
            self._loading_s += time.perf_counter() - began_s
        return self._process

    def record_peak_memory(self, answer: EngineAnswer) -> None:
        """Keep the largest peak of all processes so far."""
        gpu = [
            each for each in (self._usage.peak_gpu_memory_bytes, answer.peak_gpu_memory_bytes) if each is not None
        ]
        self._usage = replace(
            self._usage,
            peak_memory_bytes=max(self._usage.peak_memory_bytes or 0, answer.peak_memory_bytes),
            peak_gpu_memory_bytes=max(gpu, default=None),
        )

    def stop_process(self) -> str:
        """End the process, if one runs; returns how it ended."""
        process, self._process = self._process, None
        return "" if process is None else process.close()

    def close(self) -> None:
        """See `Transcriber.close`; another clip would start another process."""
        self.stop_process()
