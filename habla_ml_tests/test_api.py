"""The stable interface: its names, its figures, and its errors."""

import inspect
from pathlib import Path

import pytest

from habla_ml import api
from habla_ml.api import evaluate, export
from habla_ml.errors import EvaluationError, ExportError


def test_its_names_and_parameters_are_those_of_version_1() -> None:
    assert sorted(api.__all__) == [
        "Deployment",
        "TextEvaluation",
        "evaluate",
        "export",
        "open_deployment",
        "transcribe",
    ]
    parameters = {name: list(inspect.signature(getattr(api, name)).parameters) for name in api.__all__}
    assert parameters["open_deployment"] == ["profile"]
    assert parameters["evaluate"] == ["references", "hypotheses", "sessions"]
    assert parameters["export"] == ["checkpoint", "out", "to", "quantisation", "target", "log"]
    assert parameters["transcribe"][:3] == ["deployment", "files", "model"]


def test_errors_are_counted_as_in_the_report() -> None:
    found = evaluate(["Hola, niños.", "tengo 2 perros", "vale"], ["hola niño", "tengo dos", "pues vale"])
    assert (found.words, found.substitutions, found.deletions, found.insertions) == (6, 1, 1, 1)
    assert found.wer is not None
    assert found.wer.value == pytest.approx(3 / 6)
    assert found.wer.low < 0.5 < found.wer.high


def test_texts_of_one_recording_are_drawn_together() -> None:
    references, hypotheses = ["a b c d"] * 12, ["a b c x"] * 6 + ["a b c d"] * 6
    alone = evaluate(references, hypotheses).wer
    together = evaluate(references, hypotheses, ["one"] * 6 + ["other"] * 6).wer
    assert alone is not None
    assert together is not None
    assert together.high - together.low > alone.high - alone.low


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="1 references and 2 hypotheses"):
        evaluate(["a"], ["a", "b"])
    with pytest.raises(EvaluationError, match="nothing to evaluate"):
        evaluate([], [])
    with pytest.raises(ExportError, match="'mp3' is unknown; choose one of"):
        export(tmp_path, tmp_path / "out", "mp3")
    with pytest.raises(ExportError, match="exists already"):
        export(tmp_path, tmp_path, "onnx")
