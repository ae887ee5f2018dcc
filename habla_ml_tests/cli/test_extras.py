"""Optional packages: what is used and missing is named with the command that installs it."""

from pathlib import Path

import pytest

from habla_ml.cli import extras
from habla_ml.cli.extras import DEMO_EXTRAS, find_missing_extras
from habla_ml.cli.project import demo_command
from habla_ml.errors import InputError


def test_an_extra_is_missing_where_its_module_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_missing_extras(DEMO_EXTRAS) == []
    monkeypatch.setattr(extras, "_MODULES", {"onnx": "onnx_of_nobody", "diarisation": "nobody.metrics"})
    assert find_missing_extras(["onnx", "diarisation"]) == ["onnx", "diarisation"]


def test_the_demo_names_the_extra_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras._MODULES, "onnx", "onnx_of_nobody")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"the demo needs the extras onnx; run pip install 'habla-ml\[demo\]'"):
        demo_command()
    assert list(tmp_path.iterdir()) == []
