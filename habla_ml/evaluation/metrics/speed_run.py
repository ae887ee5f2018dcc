"""The record of a speed run: several models timed on the same clips in turn, and the machine that timed them."""

from __future__ import annotations

from habla_ml.evaluation.frozen_record import EvaluationRecord


class MachineDescription(EvaluationRecord):
    """The machine of a measurement."""

    cpu: str
    cores: int
    memory_bytes: int | None
    gpu: str | None
    system: str
    libraries: dict[str, str]
    """Name → version of what decodes."""

    def to_sentence(self) -> str:
        """Return processor, memory, GPU and system in one line."""
        memory = "" if self.memory_bytes is None else f"{self.memory_bytes / 1024**3:.0f} GiB of memory"
        gpu = self.gpu or "no GPU"
        return ", ".join(each for each in (f"{self.cores} × {self.cpu}", memory, gpu, self.system) if each)


class ModelTiming(EvaluationRecord):
    """The measured times of one model."""

    model: str
    factors: tuple[tuple[float, ...], ...]
    """Wall time of decoding one clip alone, over its duration: rounds, clips."""
    throughput: tuple[float, ...]
    """Seconds of audio decoded in one second where all clips are given at once, for each round."""
    peak_memory_bytes: int | None = None
    """Resident memory of the decoding process."""
    peak_gpu_memory_bytes: int | None = None


class SpeedRun(EvaluationRecord):
    """Several models on the same clips in turn, on one machine, in one go."""

    measured_at: str
    """UTC."""
    machine: MachineDescription
    load: float
    """Programs that wanted a core before the run, for each core: above about 0.2 the machine was not idle."""
    clips: int
    rounds: int
    audio_s: float
    """Of one round."""
    models: tuple[ModelTiming, ...]
    """Without the models of which a clip failed, or was decoded by another one."""

    def find(self, model: str) -> ModelTiming | None:
        """Return the times of a model, or None."""
        return next((each for each in self.models if each.model == model), None)
