"""The result of a training process arrives, however its messages are written."""

import sys
from pathlib import Path

import dagster as dg

from habla_ml.defs.pipe_messages import WholeLineMessageReader, read_whole_lines

WRITE_IN_HALVES = """
import json
import time

from dagster_pipes import PipesFileMessageWriterChannel, open_dagster_pipes


def write_in_halves(channel, message):
    line = json.dumps(message) + "\\n"
    with open(channel._path, "a") as file:
        for half in (line[: len(line) // 2], line[len(line) // 2 :]):
            file.write(half)
            file.flush()
            time.sleep(0.1)


PipesFileMessageWriterChannel.write_message = write_in_halves
with open_dagster_pipes() as pipes:
    pipes.report_asset_materialization(metadata={"steps": 400})
"""


def test_a_result_that_is_written_in_halves_arrives() -> None:
    client = dg.PipesSubprocessClient(message_reader=WholeLineMessageReader())

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        run = client.run(command=[sys.executable, "-c", WRITE_IN_HALVES], context=context)
        return run.get_materialize_result(implicit_materialization=False)

    (event,) = dg.materialize([trained]).asset_materializations_for_node("trained")
    assert event.metadata["steps"].value == 400


def test_the_end_of_a_process_that_is_started_again_is_no_end() -> None:
    begin = "from dagster_pipes import open_dagster_pipes\nwith open_dagster_pipes() as pipes:\n    "
    ends = (f"{begin}raise SystemExit(79)", f"{begin}pipes.report_asset_materialization(metadata={{'steps': 400}})")
    launcher = f"import subprocess, sys\nfor end in {ends}:\n    subprocess.run([sys.executable, '-c', end])"
    client = dg.PipesSubprocessClient(message_reader=WholeLineMessageReader())

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        run = client.run(command=[sys.executable, "-c", launcher], context=context)
        return run.get_materialize_result(implicit_materialization=False)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([trained], instance=instance)
        log = [each.user_message for each in instance.all_logs(result.run_id)]
    (event,) = result.asset_materializations_for_node("trained")
    assert event.metadata["steps"].value == 400
    assert not [line for line in log if "received after closed" in line or "did not receive closed" in line]


def test_what_was_written_before_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_text("one\ntwo\nhalf")
    assert list(read_whole_lines(path, lambda: True)) == ["one\n", "two\n"]
