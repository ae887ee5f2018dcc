"""The benchmarks of training run, with sizes that say nothing about speed."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from habla_ml.training.recipe import Recipe

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_the_benchmark_for_a_gpu_runs_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sizes = ["--model", "tiny", "--layers", "1", "--batch-s", "4", "--steps", "2", "--skipped", "1"]
    arguments = [*sizes, "--method", "lora", "--peak-tflops", "0.01"]
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", *arguments])
    assert importlib.import_module("bench_gpu").main() == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny |"))
    _, model, method, batch_s, frames, labels, speech_s, tflop, mfu, memory, _ = map(str.strip, row.split("|"))
    assert (model, batch_s, memory) == ("tiny", "4", "–")
    assert method.startswith("lora, ")
    assert min(float(frames), float(labels), float(speech_s), float(tflop)) > 0
    assert re.fullmatch(r"\d+\.\d%", mfu)


def test_each_configuration_of_the_ablation_is_a_recipe_with_one_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench = importlib.import_module("bench_ablation")
    ablation = bench.Ablation(tmp_path, people=1, epochs=2.0)
    known = [name for name, changes in bench.CONFIGURATIONS.items() if changes.keys() <= Recipe.model_fields.keys()]
    digests = {name: ablation.make_recipe(name, 0, 2.0).digest for name in known}
    same = {name for name, digest in digests.items() if digest == digests["reference"]}
    assert same == {"reference", *bench.WITHOUT_REPLAY}
    assert len(known) == len(bench.CONFIGURATIONS)
    assert ablation.get_path("noise", 1) != ablation.get_path("noise", 0)


def test_the_ablation_pairs_seeds_and_draws_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench = importlib.import_module("bench_ablation")
    sessions = [f"session {index % 10}" for index in range(40)]

    def make_run(name: str, seed: int, errors: list[int]) -> Any:
        return bench.Run(name, seed, "digest", errors, [0] * 40, [10] * 40, 0.1, 0.25, 5, 0.5, 9.0, 0.3, 0.2, None)

    rng = np.random.default_rng(0)
    hard = [rng.integers(0, 8, 40) for _ in range(3)]
    runs = {
        "reference": {seed: make_run("reference", seed, (hard[seed] + 2).tolist()) for seed in range(3)},
        "better": {seed: make_run("better", seed, (hard[seed] + 1).tolist()) for seed in range(3)},
    }
    assert bench.estimate_difference(runs["better"], runs["reference"], sessions) == pytest.approx((-0.1, -0.1, -0.1))
    noisy = {seed: make_run("noisy", seed, rng.integers(0, 12, 40).tolist()) for seed in range(3)}
    difference, low, high = bench.estimate_difference(noisy, runs["reference"], sessions)
    assert low < difference < high
    assert high - low > 0.02
    assert bench.estimate_difference({}, runs["reference"], sessions) is None
    table = bench.format_table(runs, sessions)
    row = next(line for line in table.splitlines() if "better" in line)
    expected = ["3", "-10.0 (-10.0 to -10.0)", "0.0%", "10.0%", "25%", "20.0%", "30.0%", "–", "0.50", "9"]
    cells = row.strip("| ").split(" | ")
    assert [cells[1], *cells[3:]] == expected
