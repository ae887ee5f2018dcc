"""A sensor that ticked while the clock was ahead ticks again."""

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)

from habla_ml.defs.future_ticks import reset_future_ticks

NOW = 1_800_000_000.0


@pytest.mark.parametrize(("last_tick", "kept"), [(NOW - 30, NOW - 30), (NOW + 2e9, 0.0)])
def test_a_tick_in_the_future_is_reset_and_the_cursor_stays(last_tick, kept, tmp_path):
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("habla_ml"), "repository")
    data = SensorInstigatorData(last_tick_timestamp=last_tick, last_tick_start_timestamp=last_tick, cursor="c")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_instigator_state(
            InstigatorState(
                RemoteInstigatorOrigin(repository, "new_recordings"),
                InstigatorType.SENSOR,
                InstigatorStatus.RUNNING,
                data,
            )
        )
        assert reset_future_ticks(instance, NOW) == (["new_recordings"] if kept == 0.0 else [])
        (state,) = instance.all_instigator_state()
    assert state.instigator_data == data._replace(last_tick_timestamp=kept, last_tick_start_timestamp=kept)
