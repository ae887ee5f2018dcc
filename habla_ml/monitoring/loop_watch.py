"""A look at the loop within a limit of time.

A server, or the mount of a folder, that is gone without a word answers no request: a look at it lasts minutes or for ever. The
sensor's tick would be ended before it could send an alert, so such a look counts as an outage of the lake.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import datetime, timedelta
from threading import Thread
from typing import Final

from habla_ml.lake import Lake
from habla_ml.monitoring.alert_state import Condition, ConditionReport
from habla_ml.monitoring.stopped_loop import (
    DELETION,
    DISK,
    FOLDER,
    LAKE,
    REVIEW,
    UPLOADS,
    WAITING,
    examine_loop,
)
from habla_ml.settings import Settings

LONGEST_LOOK_S: Final = 20.0


class LoopWatch:
    """Looks at the loop of a deployment in a thread, one look at a time."""

    def __init__(self, settings: Settings, longest_look_s: float = LONGEST_LOOK_S) -> None:
        self._settings, self._longest_look_s = settings, longest_look_s
        self._look: Future[ConditionReport] | None = None

    def examine(self, open_lake: Callable[[], Lake], now: datetime) -> ConditionReport:
        """Return the result of `examine_loop`, or that the lake is down where there is none within the limit.

        A look that an earlier call began and that has not ended is waited for again, and no other one is begun.
        """
        look = self._look if self._look is not None and not self._look.done() else self._begin(open_lake, now)
        self._look = look
        wait([look], self._longest_look_s)
        if look.done():
            return look.result()
        return ConditionReport(
            (self._describe_silence(),), frozenset({DELETION, WAITING, REVIEW, FOLDER, DISK, UPLOADS})
        )

    def _begin(self, open_lake: Callable[[], Lake], now: datetime) -> Future[ConditionReport]:
        look: Future[ConditionReport] = Future()

        def run() -> None:
            try:
                look.set_result(examine_loop(open_lake, self._settings, now))
            except BaseException as error:  # noqa: BLE001 (the caller raises it)
                look.set_exception(error)

        # A daemon: the process can end while a look hangs.
        Thread(target=run, name="look at the loop", daemon=True).start()
        return look

    def _describe_silence(self) -> Condition:
        settings = self._settings
        return Condition(
            LAKE,
            "The lake or Habla's folder does not answer",
            f"A look at them took more than {self._longest_look_s:g} s. It is unknown which recordings are safe, and perhaps "
            f"none is ingested.\nRun `{settings.command('doctor')}` to see the cause. Is a server or a mounted disk gone? "
            "Ingest goes on by itself once they answer.",
            timedelta(minutes=settings.monitoring.loop.outage_minutes),
        )
