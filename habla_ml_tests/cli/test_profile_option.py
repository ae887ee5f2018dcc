"""A command that a message proposes acts on the deployment of the command that printed it."""

from pathlib import Path

import pytest

from habla_ml.cli.profile_option import name_given_profile
from habla_ml_tests.testing.command_line import CommandInProcess
from habla_ml_tests.testing.deployment_settings import write_settings


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandInProcess:
    write_settings(tmp_path)
    return CommandInProcess(tmp_path / "configs/here.yaml", capsys, monkeypatch)


def test_an_error_names_the_profile_in_its_next_step(command: CommandInProcess, tmp_path: Path) -> None:
    refused = command.run("device", "revoke", "0" * 36)
    assert f"`habla-ml device list -p {tmp_path / 'configs/here.yaml'}` prints the ids" in refused.err


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("run `habla-ml gc --delete` later", "run `habla-ml gc --delete -p here` later"),
        ("`habla-ml keys rotate` or `habla-ml renew`", "`habla-ml keys rotate -p here` or `habla-ml renew -p here`"),
        ("`habla-ml gc -p other`", "`habla-ml gc -p other`"),
        ("`habla-ml init` takes no profile", "`habla-ml init` takes no profile"),
        ("`habla-ml nothing`, `make dev`", "`habla-ml nothing`, `make dev`"),
    ],
)
def test_only_commands_that_take_a_profile_and_have_none_get_one(
    command: CommandInProcess, tmp_path: Path, written: str, printed: str
) -> None:
    command.run("device", "list")
    here = str(tmp_path / "configs/here.yaml")
    assert name_given_profile(written).replace(here, "here") == printed
