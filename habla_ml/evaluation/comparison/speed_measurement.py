"""Times models on a fixed sample of clips: warmed up, all models in turn, in several rounds."""

from __future__ import annotations

import heapq
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.decoding import EvaluatedModel, Progress
from habla_ml.evaluation.metrics.speed_run import MachineDescription, ModelTiming, SpeedRun
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Transcriber
from habla_ml.transcription.open import HostedAccess, open_transcriber
from habla_ml.transcription.serving_profiles import build_served_options

_TIMED_PACKAGES: Final = ("ctranslate2", "faster-whisper", "onnxruntime", "torch", "transformers")
_WARM_UP_CLIPS: Final = 2
_GPU_QUERY_TIMEOUT_S: Final = 10.0
_SIGNIFICANT_DIGITS: Final = 5


def measure_speed(
    lake: Lake,
    models: Sequence[EvaluatedModel],
    test: Callable[[], Iterable[Utterance]],
    settings: EvaluationSettings,
    progress: Progress,
    *,
    is_new: bool = False,
) -> SpeedRun | None:
    """Time all models, or return the run that timed exactly these models, options, clips and machine before.

    A stored run is whole: all its figures were measured together on the day that it names. A second evaluation therefore
    gives the same evidence.

    Args:
        lake: Holds the runs.
        models: The models; all are loaded at the same time.
        test: Reads the test set.
        settings: Number of clips and rounds.
        progress: Receives a line for each round.
        is_new: Whether to measure even if there is a stored run.

    Returns:
        None without clips, or if `speed_clips` is 0.

    Raises:
        EvaluationError: An engine failed.
    """
    sample = heapq.nsmallest(settings.speed_clips, test(), key=lambda each: compute_digest(["speed", each.segment_id]))
    clips = [each for each in sample if each.duration_s > 0]
    if not clips:
        return None
    machine = describe_machine()
    name = catalogue.SPEED.name(_compute_run_digest(models, clips, machine, settings))
    stored = lake.read_pointer(name)
    if stored is not None and not is_new:
        try:
            return SpeedRun.model_validate_json(lake.get_bytes(stored.value["run"]))
        except ValidationError:
            progress("the stored speed run has another format; measuring again")
    run = time_models(lake, models, clips, machine, settings, progress)
    lake.move_pointer(name, {"run": lake.put_bytes(run.model_dump_json().encode())}, stored)
    return run


def time_models(
    lake: Lake,
    models: Sequence[EvaluatedModel],
    clips: Sequence[Utterance],
    machine: MachineDescription,
    settings: EvaluationSettings,
    progress: Progress,
) -> SpeedRun:
    """Decode every clip alone with every model, and then all clips at once, in each round.

    The models take turns clip by clip, so that other load on the machine affects all. Their order is drawn anew for each
    clip: a process that has just decoded still uses the processor for a moment and slows the next one.
    """
    access = HostedAccess(settings.hosted, lake, build_served_options(settings))
    factors: list[list[list[float]]] = [[[] for _ in range(settings.speed_rounds)] for _ in models]
    throughput: list[list[float]] = [[] for _ in models]
    failed: set[int] = set()
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    audio_s = sum(each.duration_s for each in clips)
    with ExitStack() as opened:
        transcribers: list[Transcriber] = []
        for each in models:
            options = each.decoding or build_served_options(settings)
            transcriber = open_transcriber(options, each.folder, settings.device, settings.cpu_threads, access)
            transcribers.append(opened.enter_context(closing(transcriber)))
            transcriber.transcribe(clips[:_WARM_UP_CLIPS])
        random = np.random.default_rng(settings.seed)
        for number in range(settings.speed_rounds):
            for clip in clips:
                for at in random.permutation(len(models)).tolist():
                    took_s = _time_call(transcribers[at], [clip], failed, at)
                    factors[at][number].append(_round(took_s / clip.duration_s))
            for at in random.permutation(len(models)).tolist():
                throughput[at].append(_round(audio_s / _time_call(transcribers[at], clips, failed, at)))
            progress(f"speed: {number + 1} of {settings.speed_rounds} rounds with {len(clips)} clips done")
        usages = [each.usage for each in transcribers]
    return SpeedRun(
        measured_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        machine=machine,
        load=round(load, 2),
        clips=len(clips),
        rounds=settings.speed_rounds,
        audio_s=round(audio_s, 3),
        models=tuple(
            ModelTiming(
                model=model.name,
                factors=tuple(tuple(each) for each in factors[at]),
                throughput=tuple(throughput[at]),
                peak_memory_bytes=usages[at].peak_memory_bytes,
                peak_gpu_memory_bytes=usages[at].peak_gpu_memory_bytes,
            )
            for at, model in enumerate(models)
            if at not in failed
        ),
    )


def describe_machine() -> MachineDescription:
    """Return processor, memory, GPU, system and the versions of the packages that decode."""
    return MachineDescription(
        cpu=_read_cpu_name(),
        cores=os.cpu_count() or 1,
        memory_bytes=_read_memory_bytes(),
        gpu=_read_gpu_name(),
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        libraries={name: found for name in _TIMED_PACKAGES if (found := _find_version(name))},
    )


def _time_call(transcriber: Transcriber, clips: Sequence[Utterance], failed: set[int], at: int) -> float:
    began_s = time.perf_counter()
    hypotheses = transcriber.transcribe(clips)
    took_s = time.perf_counter() - began_s
    if any(each.failure is not None or each.fallback_engine is not None for each in hypotheses):
        failed.add(at)
    return took_s


def _round(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def _compute_run_digest(
    models: Sequence[EvaluatedModel],
    clips: Sequence[Utterance],
    machine: MachineDescription,
    settings: EvaluationSettings,
) -> str:
    served = build_served_options(settings)
    return compute_digest(
        {
            "models": [[each.name, each.artefact, (each.decoding or served).digest()] for each in models],
            "clips": [each.audio_sha256 for each in clips],
            "rounds": settings.speed_rounds,
            "device": [settings.device, settings.cpu_threads],
            "machine": machine.model_dump(mode="json"),
        }
    )


def _read_cpu_name() -> str:
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read_memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _read_gpu_name() -> str | None:
    """Return name and memory of the first GPU of Nvidia, or None."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GPU_QUERY_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(answer.stdout.strip().splitlines()), None)


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
