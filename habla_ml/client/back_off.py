"""Repeat a request that can succeed later: exponential back-off with jitter, or the wait that the service asks for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from habla_ml.client.problems import ProblemReceivedError, ServiceUnreachableError

Result = TypeVar("Result")


@dataclass(frozen=True)
class BackOff:
    """How often and after which waits a request is repeated. All requests of the client may be repeated safely."""

    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    """A longer `Retry-After` ends the attempts, so that the app can plan a later upload."""
    sleep: Callable[[float], None] = time.sleep

    def call(self, request: Callable[[], Result]) -> Result:
        """Return the result of a request, or raise the error of its last attempt or the first that a repeat cannot change."""
        for attempt in range(1, self.attempts + 1):
            try:
                return request()
            except ServiceUnreachableError:
                if attempt == self.attempts:
                    raise
                wait_s = self._draw_wait(attempt)
            except ProblemReceivedError as error:
                if attempt == self.attempts or not error.can_pass_soon:
                    raise
                wait_s = self._draw_wait(attempt)
                if error.retry_after_s is not None:
                    if error.retry_after_s > self.longest_wait_s:
                        raise
                    # Devices that were refused together must not come back together.
                    wait_s = error.retry_after_s + random.uniform(0, self.first_wait_s)  # noqa: S311 (no secret)
            self.sleep(wait_s)
        raise ValueError(f"{self.attempts} attempts; allow 1 or more")

    def _draw_wait(self, attempt: int) -> float:
        longest_s: float = min(self.longest_wait_s, self.first_wait_s * 2 ** (attempt - 1))
        return random.uniform(longest_s / 2, longest_s)  # noqa: S311 (no secret)
