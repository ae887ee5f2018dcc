"""The benchmarks of training run, with sizes that say nothing about speed."""

import importlib
import re
import sys
from pathlib import Path

import pytest

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
