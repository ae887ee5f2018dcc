"""Let sensors tick again after the machine's clock was ahead: `python -m habla_ml.defs.future_ticks`, before the daemon.

Dagster waits until a sensor's interval has passed since its last tick. After a tick at a time in the future that is never:
a clock that was at 2099 for a minute would stop the pipeline silently.
"""

from __future__ import annotations

import time
from typing import Any

import dagster as dg

from habla_ml.defs.runs import open_dagster_instance

_TIMES = ("last_tick_timestamp", "last_tick_start_timestamp", "last_tick_success_timestamp")


def reset_future_ticks(instance: dg.DagsterInstance, now: float) -> list[str]:
    """Set the times of sensors' last ticks that are after `now` (seconds since 1970) to 0; return these sensors."""
    reset = []
    for state in instance.all_instigator_state():
        data: Any = state.instigator_data
        future = {name: 0.0 for name in _TIMES if (getattr(data, name, None) or 0.0) > now}
        if future:
            instance.update_instigator_state(state.with_data(data._replace(**future)))
            reset.append(state.instigator_name)
    return reset


def reset_instance_ticks() -> None:
    """Reset future ticks in the instance of DAGSTER_HOME, whose storage is created when missing."""
    with open_dagster_instance() as instance:
        for name in reset_future_ticks(instance, time.time()):
            print(f"the clock was ahead at the last tick of {name}; it ticks again now")


if __name__ == "__main__":
    reset_instance_ticks()
