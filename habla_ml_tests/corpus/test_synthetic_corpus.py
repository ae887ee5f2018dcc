"""The corpora that the benchmarks generate are corpora: each step takes them."""

import importlib
from pathlib import Path

import pytest

from habla_ml.corpus.agreement import measure_agreement
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.splits import make_snapshot
from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.long
def test_a_generated_corpus_is_built_split_and_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    generated = importlib.import_module("synthetic_corpus")
    lake, settings = generated.open_lake(tmp_path), generated.settings_of(tmp_path)
    conventions = load_conventions(generated.CONVENTIONS_FOLDER / "orthographic-v4.yaml")
    shape = generated.CorpusShape(120, 60, segments_per_lesson=10, twice_transcribed_share=1.0)
    for day in generated.write_corpus(lake, shape):
        build_day(lake, day, conventions, settings)
    assert sum(make_snapshot(lake, settings, conventions).counts.values()) > 90
    assert measure_agreement(lake, conventions, normalise_spanish_pair).comparisons > 50
