"""What decoding takes: memory, and money for one hour of audio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from habla_ml.evaluation.metrics.inputs import DecodedModel, MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.transcription.options import HostedOptions

if TYPE_CHECKING:
    from habla_ml.settings import AcceptableSettings
    from habla_ml.transcription.options import EngineOptions

_COST_MARGIN: Final = 0.05
_MEMORY_MARGIN: Final = 0.15
"""Three models of one size, measured one after the other, took 243, 271 and 276 MiB."""


def _measure_peak_memory(inputs: MetricInputs) -> MetricTable:
    return _tabulate_once_measured([each.usage.peak_memory_bytes for each in inputs.models])


def _measure_peak_gpu_memory(inputs: MetricInputs) -> MetricTable:
    return _tabulate_once_measured([each.usage.peak_gpu_memory_bytes for each in inputs.models])


def _measure_cost(inputs: MetricInputs) -> MetricTable:
    price = inputs.settings.compute_usd_per_hour
    return _tabulate_once_measured([compute_cost_per_audio_hour(each, price) for each in inputs.models])


def compute_cost_per_audio_hour(model: DecodedModel, compute_usd_per_hour: float | None) -> float | None:
    """Return US dollars for one hour of audio: the price of the service, or computing time at the given price."""
    usage = model.usage
    if usage.audio_s > 0 and usage.cost_usd > 0:
        return usage.cost_usd / usage.audio_s * 3600
    if usage.audio_s > 0 and compute_usd_per_hour is not None:
        return compute_usd_per_hour * usage.decode_s / usage.audio_s
    return None


def _tabulate_once_measured(values: Sequence[float | None]) -> MetricTable:
    """A single measurement is an interval without width."""
    return MetricTable([None if each is None else Interval(each, each, each) for each in values])


def _acceptable_cost(bounds: AcceptableSettings, decoding: EngineOptions) -> float | None:
    is_hosted = isinstance(decoding, HostedOptions)
    return bounds.hosted_cost_per_audio_hour_usd if is_hosted else bounds.own_cost_per_audio_hour_usd


PEAK_MEMORY = Metric(
    "peak_memory_bytes",
    "peak memory",
    "bytes",
    _measure_peak_memory,
    acceptable_bound=lambda bounds, _: bounds.peak_memory_bytes,
    margin=_MEMORY_MARGIN,
)
PEAK_GPU_MEMORY = Metric(
    "peak_gpu_memory_bytes",
    "peak GPU memory",
    "bytes",
    _measure_peak_gpu_memory,
    acceptable_bound=lambda bounds, _: bounds.peak_gpu_memory_bytes,
    margin=_MEMORY_MARGIN,
)
COST = Metric(
    "cost_per_audio_hour_usd",
    "cost per hour of audio",
    "dollars",
    _measure_cost,
    acceptable_bound=_acceptable_cost,
    margin=_COST_MARGIN,
)
