"""Monthly cost of a service, stored in the lake so that parallel runs share one cap.

Before a call, its cost is added to the pointer `spending/<service>/<YYYY-MM>` (UTC) by compare-and-set; afterwards, what
the service did not bill is subtracted. A run that is killed in between leaves its calls counted as paid.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from habla_ml.errors import EvaluationError, LakeError, PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.settings.hosted import HostedServiceSettings

_MAX_WRITE_ATTEMPTS: Final = 60
_LONGEST_PAUSE_S: Final = 0.2
_DIGITS: Final = 9
"""Decimal places of sums in US dollars, so that many small prices add up exactly."""


def compute_call_cost_usd(settings: HostedServiceSettings, duration_s: float) -> float:
    """Return the cost of one call with a clip of this duration."""
    seconds = max(duration_s, settings.billed_minimum_s)
    # Ignore rounding errors below a ten-thousandth of a step.
    steps = math.ceil(seconds / settings.billed_step_s - 1e-4)
    return steps * settings.billed_step_s / 60 * settings.usd_per_minute


class CapReachedError(EvaluationError):
    """A call was not made because it could exceed the monthly cap."""


class Spending:
    """The monthly cost of one service; several threads and processes may use it at the same time."""

    def __init__(
        self, lake: Lake, service: str, cap_usd: float, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._lake = lake
        self._service = service
        self._cap_usd = cap_usd
        self._clock = clock
        self._lock = threading.Lock()

    def reserve(self, usd: float) -> str:
        """Add a cost to this month's sum before the call; return the month (`YYYY-MM`, UTC).

        Raises:
            CapReachedError: The sum would exceed the cap.
            LakeError: The sum cannot be read or written.
        """
        month = self._clock().strftime("%Y-%m")
        self._add(month, usd)
        return month

    def refund(self, month: str, usd: float) -> None:
        """Subtract a part of a reservation that was not billed."""
        if usd > 0:
            self._add(month, -usd)

    def _add(self, month: str, usd: float) -> None:
        name = catalogue.SPENDING.name(self._service, month)
        with self._lock:
            for _ in range(_MAX_WRITE_ATTEMPTS):
                seen = self._lake.read_pointer(name)
                spent = _read_sum_usd(seen)
                if usd > 0 and round(spent + usd, _DIGITS) > self._cap_usd:
                    raise CapReachedError(
                        f"{self._service} would cost {usd:.4f} USD more, {spent:.4f} USD are spent or reserved in "
                        f"{month}, and evaluation.hosted.{self._service}.monthly_cap_usd is {self._cap_usd:g}, so "
                        "nothing was sent; raise the cap, use fewer clips, or wait for the next month"
                    )
                value = {"spent_usd": round(max(0.0, spent + usd), _DIGITS)}
                try:
                    self._lake.move_pointer(name, value, seen)
                except PointerMovedError:
                    time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 (jitter, not cryptography)
                    continue
                return
        raise LakeError(
            f"other processes changed {name} {_MAX_WRITE_ATTEMPTS} times in a row; run fewer evaluations at the same time"
        )


def _read_sum_usd(pointer: Pointer | None) -> float:
    if pointer is None:
        return 0.0
    value = pointer.value.get("spent_usd")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise LakeError(
        f"pointer {pointer.name} has no valid sum in USD; restore it, or set spent_usd to the amount billed"
    )
