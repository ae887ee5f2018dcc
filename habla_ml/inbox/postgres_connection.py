"""A connection to PostgreSQL that does not wait for ever: libpq has no time limit for an answer.

Keepalives and `tcp_user_timeout` notice a machine that is gone. They do not notice a proxy that acknowledges every packet
and passes nothing on.
"""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen

ANSWER_TIMEOUT_S: Final = 120.0
"""Longest silence of the server. Transactions of the service are short; building an index at an upgrade takes longest."""
_CHECK_S: Final = 0.5
Result = TypeVar("Result")


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that ends itself after `ANSWER_TIMEOUT_S` without a byte from the server."""

    def wait(self, gen: PQGen[Result], interval: float = _CHECK_S, timeout: float | None = None) -> Result:
        """Wait for the answer to a request; raise `OperationalError` if none comes."""
        return super().wait(self._limit_silence(gen), interval=interval, timeout=timeout)

    def _limit_silence(self, gen: PQGen[Result]) -> PQGen[Result]:
        """Pass on what the socket is ready for, which is 0 after each interval without a byte."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    deadline = time.monotonic() + ANSWER_TIMEOUT_S
                elif time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"the server sent nothing for {ANSWER_TIMEOUT_S:g} s; look at it and at the proxies before it"
                    )
                wanted = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result
