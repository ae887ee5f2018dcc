"""The pace of a run by a clock of its own, and a training that its limit refuses."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from habla_ml.training import pace as pace_module
from habla_ml.training.pace import PaceMeter, format_duration, measure_workload
from habla_ml.training.process import main
from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import ClipUse
from habla_ml_tests.testing.training_deployment import TrainingDeployment


class ModelOfParameters:
    """A model with 1,000 trained parameters."""

    def parameters(self) -> list[object]:
        import torch

        return [torch.zeros(1000, requires_grad=True), torch.zeros(50)]


class SteppedClock:
    """A clock that moves only when it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pace_module.time, "monotonic", lambda: self.now)


@pytest.fixture
def meter() -> PaceMeter:
    # Six steps of two batches: four short windows of 5 s (8 clips a step), then two full ones of 30 s (2 clips a step).
    short, full = [[ClipUse(clip, 500, 0) for clip in range(4)]] * 2, [[ClipUse(4, 3000, 0)], [ClipUse(5, 3000, 0)]]
    return PaceMeter(measure_workload([*short * 4, *full * 2], 2, np.full(6, 3.0)), evaluate_every_steps=3)


def test_remaining_time_follows_the_window_and_validation_but_not_the_first_step(
    meter: PaceMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock(monkeypatch)
    meter.begin(0, ModelOfParameters())
    for took in (50.0, 4.0, 4.0):
        clock.now += took
        meter.end_step()
    pace = meter.measure()
    assert pace.epoch == 4.0
    assert pace.clips_per_h == pytest.approx(16 / 8 * 3600)
    assert pace.speech_h_per_h == pytest.approx(48 / 8)
    # 40 s of windows take 4 s: one short step and two full steps of 60 s are left.
    assert pace.remaining_s == pytest.approx(0.1 * (40 + 2 * 60))
    clock.now += 7.0
    meter.end_evaluation()
    clock.now += 100.0
    meter.end_save()
    assert meter.measure().remaining_s == pytest.approx(16 + 7.0)


def test_the_estimate_comes_once_after_three_steps_or_after_a_long_one(
    meter: PaceMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock(monkeypatch)
    monkeypatch.setattr(pace_module, "read_peak_memory", lambda: 1_000_000)
    meter.begin(0, ModelOfParameters())
    monkeypatch.setattr(pace_module, "read_peak_memory", lambda: 1_112_000)
    found = []
    for _ in range(5):
        clock.now += 1.0
        meter.end_step()
        found.append(meter.estimate())
    assert [each is not None for each in found] == [False, False, True, False, False]
    # 12 bytes for each of 1,000 parameters; the rest grows from batches of 20 s to those of 30 s.
    assert found[2].memory_bytes == 1_000_000 + 12_000 + 100_000 * 1.5
    meter = PaceMeter(measure_workload([[ClipUse(0, 3000, 0)]] * 4, 1, np.full(1, 3.0)), 3)
    meter.begin(0, ModelOfParameters())
    clock.now += 90.0
    meter.end_step()
    estimate = meter.estimate()
    assert (estimate.steps, estimate.pace.remaining_s) == (1, 270.0)
    clock.now += 90.0
    meter.end_step()
    assert meter.estimate() is None


def test_durations_have_a_unit_that_fits() -> None:
    assert [format_duration(each) for each in (0.4, 119, 120, 7199, 360_000)] == [
        "0 s",
        "119 s",
        "2 min",
        "120 min",
        "100.0 h",
    ]


@pytest.mark.slow
def test_an_estimate_trains_and_pins_nothing_and_a_limit_refuses_a_training(
    tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = TrainingDeployment(tmp_path, recipe, log_every_steps=1)
    command = [
        "--settings",
        str(deployment.settings),
        "--snapshot",
        deployment.snapshot.id,
        "--out",
        str(tmp_path / "w"),
    ]
    assert main([*command, "--estimate"]) == 0
    out = capsys.readouterr().out
    assert "training on CPU, 1 threads in " in out
    assert "step 3/12: estimate from 3 steps: at most about " in out
    assert "nothing was trained; within the limit of 48 h (training.limit_h)" in out
    assert "step 4/12" not in out
    settings = yaml.safe_load(deployment.settings.read_text())
    settings["training"]["limit_h"] = 1e-9
    deployment.settings.write_text(yaml.safe_dump(settings))
    assert list(deployment.lake.list_pointers("models/")) == []
    assert main([*command, "--version", "v1"]) == 1
    refused = capsys.readouterr().err
    assert "error: recipe tiny needs about " in refused
    assert "but training.limit_h is 1e-09 h; use a machine with a GPU, lower epochs or max_steps" in refused
    assert deployment.lake.read_pointer("models/v1/checkpoint") is None


@pytest.mark.parametrize(("done", "evaluations"), [(1, 3), (2, 2), (3, 2), (4, 1)])
def test_the_remaining_time_has_the_evaluation_of_the_last_step(
    monkeypatch: pytest.MonkeyPatch, done: int, evaluations: int
) -> None:
    clock = SteppedClock(monkeypatch)
    # Evaluated after steps 2, 4 and 5.
    meter = PaceMeter(measure_workload([[ClipUse(0, 3000, 0)]] * 5, 1, np.full(1, 3.0)), 2)
    meter.begin(0, ModelOfParameters())
    for _ in range(done):
        clock.now += 1.0
        meter.end_step()
    clock.now += 10.0
    meter.end_evaluation()
    assert meter.measure().remaining_s == pytest.approx(5 - done + 10.0 * evaluations)
