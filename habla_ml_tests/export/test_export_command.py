"""`habla-ml export`, and the workflow that calls it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from habla_ml.cli.models import export_command
from habla_ml.errors import ExportError
from habla_ml_tests.testing.deploy_files import check_command

WORKFLOW = Path(__file__).resolve().parents[2] / ".github/workflows/coreml.yml"


def test_a_folder_is_converted_without_a_lake(tiny_checkpoint: Path, tmp_path: Path) -> None:
    export_command(tiny_checkpoint, tmp_path / "model", "ctranslate2", "float32")
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.bin").is_file()
    with pytest.raises(ExportError, match="model exists already"):
        export_command(tiny_checkpoint, tmp_path / "model", "ctranslate2", None)


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match="'tflite' is unknown; choose one of coreml, ctranslate2, ggml, onnx, transformers"
    ):
        export_command(tmp_path, tmp_path / "out", "tflite", None)


def test_the_workflow_pins_its_actions_and_calls_commands_that_exist() -> None:
    steps = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]["convert"]["steps"]
    actions = [each["uses"] for each in steps if "uses" in each]
    assert actions
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", each) for each in actions)
    commands = [shlex.split(each["run"]) for each in steps if each.get("run", "").startswith("habla-ml")]
    assert len(commands) == 1
    for command in commands:
        check_command(command)
