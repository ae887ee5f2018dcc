"""The code of the contributor's tour works as it is written."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from habla_ml_tests.testing.documented_commands import split_page

PAGE = Path(__file__).parents[2] / "docs" / "add_a_metric.md"


def test_the_metric_of_the_tour_passes_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    metric, test = ("\n".join(lines) for label, lines in split_page(PAGE.read_text("utf-8"))[0] if label == "python")
    module = ModuleType("habla_ml.evaluation.metrics.sentence_errors")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(metric, vars(module))  # noqa: S102 (code of this repository)
    names: dict[str, object] = {}
    exec(test, names)  # noqa: S102
    run = names["test_two_of_four_sentences_have_an_error"]
    assert callable(run)
    run()
