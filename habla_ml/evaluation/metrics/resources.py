"""Memory of decoding, and its cost for one hour of audio, from the speed run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from habla_ml.evaluation.metrics.inputs import DecodedModel, MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable
from habla_ml.evaluation.metrics.speed import TIME_MARGIN, make_cost_figure, tabulate_speed
from habla_ml.evaluation.metrics.speed_run import ModelTiming
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.transcription.options import HostedOptions

if TYPE_CHECKING:
    from habla_ml.settings import AcceptableSettings
    from habla_ml.transcription.options import EngineOptions

_MEMORY_MARGIN: Final = 0.25
"""Three models of one size used 243, 271 and 276 MiB, one after the other, and another time 250, 300 and 300."""


def _measure(get_value: Callable[[ModelTiming], float | None]) -> Callable[[MetricInputs], MetricTable]:
    """Return a measurement that is made once for each timed model: an interval without width."""

    def measure(inputs: MetricInputs) -> MetricTable:
        run = inputs.measurements.speed
        timings = [run.find(each.name) if run else None for each in inputs.models]
        values = [None if each is None else get_value(each) for each in timings]
        return MetricTable([None if each is None else Interval(each, each, each) for each in values])

    return measure


def _measure_cost(inputs: MetricInputs) -> MetricTable:
    """Return the US dollars for one hour of audio: the price of the service, or of the own machine over its throughput."""
    price = inputs.settings.compute_usd_per_hour
    own = MetricTable([None] * len(inputs.models))
    if price:
        own = tabulate_speed(partial(make_cost_figure, price), inputs)
    paid = [_compute_service_price(each) for each in inputs.models]
    values = [mine if each is None else each for mine, each in zip(own.values, paid, strict=True)]
    is_own = [each is None for each in paid]
    return MetricTable(
        values, {pair: each for pair, each in own.differences.items() if is_own[pair[0]] and is_own[pair[1]]}
    )


def _compute_service_price(model: DecodedModel) -> Interval | None:
    usage = model.usage
    if usage.audio_s <= 0 or usage.cost_usd <= 0:
        return None
    price = usage.cost_usd / usage.audio_s * 3600
    return Interval(price, price, price)


def _acceptable_cost(bounds: AcceptableSettings, decoding: EngineOptions) -> float | None:
    is_hosted = isinstance(decoding, HostedOptions)
    return bounds.hosted_cost_per_audio_hour_usd if is_hosted else bounds.own_cost_per_audio_hour_usd


PEAK_MEMORY = Metric(
    "peak_memory_bytes",
    "peak memory",
    "bytes",
    _measure(lambda timing: timing.peak_memory_bytes),
    help="The most memory that the program needs while it transcribes.",
    acceptable_bound=lambda bounds, _: bounds.peak_memory_bytes,
    margin=_MEMORY_MARGIN,
)
PEAK_GPU_MEMORY = Metric(
    "peak_gpu_memory_bytes",
    "peak GPU memory",
    "bytes",
    _measure(lambda timing: timing.peak_gpu_memory_bytes),
    help="The most memory of the graphics card that it needs.",
    acceptable_bound=lambda bounds, _: bounds.peak_gpu_memory_bytes,
    margin=_MEMORY_MARGIN,
)
COST = Metric(
    "cost_per_audio_hour_usd",
    "cost per hour of audio",
    "dollars",
    _measure_cost,
    help="Price of the computer or service to transcribe one hour of speech.",
    acceptable_bound=_acceptable_cost,
    margin=TIME_MARGIN,
    difference_unit="%",
)
