import sys
from pathlib import Path

import pytest
import yaml

from habla_ml.errors import SettingsError
from habla_ml.settings import Settings, load_settings
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_KILLED, EXIT_RESTART
from habla_ml.training.launch.command import build_command
from habla_ml.training.launch.torchrun import choose_exit_code
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.training_deployment import TrainingDeployment

WORDS = ["--version", "v1"]


def load_with(deployment: TrainingDeployment, launch: dict[str, object]) -> Settings:
    found = yaml.safe_load(deployment.settings.read_text())
    deployment.settings.write_text(yaml.safe_dump(found | {"training": found["training"] | {"launch": launch}}))
    return load_settings(deployment.settings)


def test_the_settings_say_where_a_training_runs(tmp_path: Path, recipe: Recipe) -> None:
    deployment = TrainingDeployment(tmp_path, recipe)
    here = build_command(load_settings(deployment.settings), WORDS)
    assert here == [sys.executable, "-m", "habla_ml.training", "--version", "v1"]
    several = build_command(load_with(deployment, {"where": "torchrun", "processes": 4}), WORDS)
    assert several[2:] == ["habla_ml.training.launch.torchrun", "--processes", "4", "--version", "v1"]
    with pytest.raises(SettingsError, match=r"training\.launch.*where: here is one process, not 4"):
        load_with(deployment, {"processes": 4})


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ({0: 1}, 1),
        ({0: EXIT_ENVIRONMENT, 1: -9}, EXIT_KILLED),
        ({0: EXIT_ENVIRONMENT, 1: EXIT_ENVIRONMENT}, EXIT_ENVIRONMENT),
        ({1: EXIT_RESTART, 0: EXIT_ENVIRONMENT}, EXIT_RESTART),
        ({0: -15, 1: -9}, EXIT_KILLED),
    ],
)
def test_a_launcher_returns_the_code_that_tells_most(codes: dict[int, int], code: int) -> None:
    assert choose_exit_code(codes) == code
