"""A transcriber whose engine runs in its own process, so that a hang or a crash costs one clip."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from habla_ml.transcription.audio_check import split_usable_clips
from habla_ml.transcription.dispatch import dispatch
from habla_ml.transcription.engine import Clip, Hypothesis, Usage, load_engine_class
from habla_ml.transcription.engine_process import RestartableProcess
from habla_ml.transcription.messages import StartRequest
from habla_ml.transcription.options import DecodingOptions


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
        self._process = RestartableProcess(
            StartRequest(model_folder=model_folder, options=options, device=device, cpu_threads=cpu_threads)
        )
        self._usage = Usage()

    @property
    def options(self) -> DecodingOptions:
        """See `Transcriber.options`."""
        return self._process.options

    @property
    def usage(self) -> Usage:
        """See `Transcriber.usage`."""
        return self._usage + self._process.peaks

    @property
    def pid(self) -> int | None:
        """Id of the decoding process; None where none runs."""
        return self._process.pid

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Transcriber.transcribe`."""
        usable, found = split_usable_clips(clips)
        began_s, loading_s = time.perf_counter(), self._process.loading_s
        found.update(dispatch(usable, self._process))
        decode_s = time.perf_counter() - began_s - (self._process.loading_s - loading_s)
        self._usage += Usage(sum(each.duration_s for each in usable.values()), decode_s)
        return [found[at] for at in range(len(clips))]

    def close(self) -> None:
        """See `Transcriber.close`; the next clip would start another process."""
        self._process.stop()
