"""Memory of decoding, and its cost for one hour of audio."""

from __future__ import annotations

from collections.abc import Callable
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
"""Three models of one size used 243, 271 and 276 MiB, one after the other."""


def _measure(get_value: Callable[[DecodedModel, MetricInputs], float | None]) -> Callable[[MetricInputs], MetricTable]:
    """Return a measurement that is made once for each model: an interval without width."""

    def measure(inputs: MetricInputs) -> MetricTable:
        values = [get_value(each, inputs) for each in inputs.models]
        return MetricTable([None if each is None else Interval(each, each, each) for each in values])

    return measure


def compute_cost_per_audio_hour(model: DecodedModel, compute_usd_per_hour: float | None) -> float | None:
    """Return the US dollars for one hour of audio: the price of the service, or the decoding time at the given price."""
    usage = model.usage
    if usage.audio_s > 0 and usage.cost_usd > 0:
        return usage.cost_usd / usage.audio_s * 3600
    if usage.audio_s > 0 and compute_usd_per_hour is not None:
        return compute_usd_per_hour * usage.decode_s / usage.audio_s
    return None


def _acceptable_cost(bounds: AcceptableSettings, decoding: EngineOptions) -> float | None:
    is_hosted = isinstance(decoding, HostedOptions)
    return bounds.hosted_cost_per_audio_hour_usd if is_hosted else bounds.own_cost_per_audio_hour_usd


PEAK_MEMORY = Metric(
    "peak_memory_bytes",
    "peak memory",
    "bytes",
    _measure(lambda model, _: model.usage.peak_memory_bytes),
    help="The most memory that the program needs while it transcribes.",
    acceptable_bound=lambda bounds, _: bounds.peak_memory_bytes,
    margin=_MEMORY_MARGIN,
)
PEAK_GPU_MEMORY = Metric(
    "peak_gpu_memory_bytes",
    "peak GPU memory",
    "bytes",
    _measure(lambda model, _: model.usage.peak_gpu_memory_bytes),
    help="The most memory of the graphics card that it needs.",
    acceptable_bound=lambda bounds, _: bounds.peak_gpu_memory_bytes,
    margin=_MEMORY_MARGIN,
)
COST = Metric(
    "cost_per_audio_hour_usd",
    "cost per hour of audio",
    "dollars",
    _measure(lambda model, inputs: compute_cost_per_audio_hour(model, inputs.settings.compute_usd_per_hour)),
    help="Price of the computer or service to transcribe one hour of speech.",
    acceptable_bound=_acceptable_cost,
    margin=_COST_MARGIN,
)
