"""What is spent on a service in a month, kept in the lake so that two runs cannot spend the same money.

The pointer `spending/<service>/<YYYY-MM>` (UTC) is raised by compare-and-set before a call is made, and lowered by what
was not billed after it. What dies in between has spent on paper what it may have spent in truth.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from habla_ml.errors import EvaluationError, LakeError, PointerMovedError
from habla_ml.lake import Lake, catalogue
from habla_ml.settings.hosted import HostedServiceSettings

_MAX_WRITE_ATTEMPTS: Final = 60
_LONGEST_PAUSE_S: Final = 0.2
_DIGITS: Final = 9
"""Of a US dollar: sums of many small prices stay what they are on paper."""


def compute_call_cost_usd(settings: HostedServiceSettings, duration_s: float) -> float:
    """What one call with a clip of this length costs."""
    seconds = max(duration_s, settings.billed_minimum_s)
    # Ten thousandths of a step are the arithmetic's, not the clip's.
    steps = math.ceil(seconds / settings.billed_step_s - 1e-4)
    return steps * settings.billed_step_s / 60 * settings.usd_per_minute


@dataclass(frozen=True)
class Reservation:
    """Money that calls may cost."""

    month: str
    usd: float


class CapReachedError(EvaluationError):
    """A call could bring the month's bill above the cap; it was not made."""


class Spending:
    """The account of one service; used by several threads and processes at a time."""

    def __init__(
        self, lake: Lake, service: str, cap_usd: float, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._lake = lake
        self._service = service
        self._cap_usd = cap_usd
        self._clock = clock
        self._lock = threading.Lock()

    def reserve(self, usd: float) -> Reservation:
        """Count money as spent before it is.

        Raises:
            CapReachedError: The month's sum would be above the cap.
            LakeError: The account cannot be read or written.
        """
        month = self._clock().strftime("%Y-%m")
        self._add(month, usd)
        return Reservation(month, usd)

    def refund(self, reserved: Reservation, usd: float) -> None:
        """Count a part of what was reserved as not spent."""
        if usd > 0:
            self._add(reserved.month, -usd)

    def spent_usd(self, month: str) -> float:
        """Sum of a month (`YYYY-MM`), with what is reserved now."""
        pointer = self._lake.read_pointer(catalogue.SPENDING.name(self._service, month))
        return 0.0 if pointer is None else _parse_sum_usd(pointer.name, pointer.value.get("spent_usd"))

    def _add(self, month: str, usd: float) -> None:
        name = catalogue.SPENDING.name(self._service, month)
        with self._lock:
            for _ in range(_MAX_WRITE_ATTEMPTS):
                seen = self._lake.read_pointer(name)
                spent = 0.0 if seen is None else _parse_sum_usd(name, seen.value.get("spent_usd"))
                if usd > 0 and round(spent + usd, _DIGITS) > self._cap_usd:
                    raise CapReachedError(
                        f"{self._service} would cost {usd:.4f} USD more, {spent:.4f} USD are spent or reserved in "
                        f"{month}, and evaluation.hosted.{self._service}.monthly_cap_usd is {self._cap_usd:g}; nothing "
                        "was sent: raise the cap, take fewer clips, or wait for the next month"
                    )
                value = {"spent_usd": round(max(0.0, spent + usd), _DIGITS)}
                try:
                    self._lake.move_pointer(name, value, seen)
                except PointerMovedError:
                    time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 (spreads, protects nothing)
                    continue
                return
        raise LakeError(
            f"{name} was moved by others {_MAX_WRITE_ATTEMPTS} times in a row; run fewer evaluations at once"
        )


def _parse_sum_usd(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise LakeError(f"pointer {name} holds no sum in USD; restore it, or set spent_usd to what the service billed")
