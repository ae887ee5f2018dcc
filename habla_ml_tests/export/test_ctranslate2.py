"""The converted folder is complete for faster-whisper, and the same checkpoint gives the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from habla_ml.errors import ExportError
from habla_ml.export.ctranslate2 import CTRANSLATE2, QUANTISATIONS
from habla_ml.lake import compute_sha256
from habla_ml.settings.models import ExportSettings
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint

OFFLINE_TRANSCRIPTION_SCRIPT = """
import json, socket, sys

def refuse(*_):
    raise AssertionError("a connection was attempted")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
import numpy as np
from faster_whisper import WhisperModel

model = WhisperModel(sys.argv[1], device="cpu", cpu_threads=1)
audio = (0.1 * np.random.default_rng(3).standard_normal(32000)).astype("float32")
options = {"beam_size": 1, "temperature": 0.0, "max_new_tokens": 8}
_, spanish = model.transcribe(audio, language="es", **options)
segments, detected = model.transcribe(audio, word_timestamps=True, **options)
list(segments)
print(json.dumps([model.model.is_multilingual, spanish.language, detected.language, model.model.n_mels]))
"""


@pytest.fixture(scope="module")
def artefact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_checkpoint(CTRANSLATE2, tiny_checkpoint, tmp_path_factory.mktemp("ct2")).path


def transcribe_offline(model: Path, empty_home: Path) -> list[object]:
    """Transcribe in a process with an empty cache, in which every connection is an error."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(empty_home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_TRANSCRIPTION_SCRIPT, str(model)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.long
def test_faster_whisper_runs_it_from_its_path_alone(artefact: Path, tmp_path: Path) -> None:
    multilingual, language, detected, n_mels = transcribe_offline(artefact, tmp_path)
    assert (multilingual, language, n_mels) == (True, "es", 80)
    assert detected in LANGUAGES


@pytest.mark.long
def test_the_demo_base_model_runs_from_its_path_alone(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = export_checkpoint(CTRANSLATE2, BASE_MODEL, tmp_path / "base", progress=lines.append).path
    assert transcribe_offline(folder, tmp_path)[:2] == [True, "es"]
    assert [line.split(":")[0] for line in lines] == ["prepare", "prepare", "ctranslate2"]


@pytest.mark.long
def test_it_computes_what_the_checkpoint_computes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import ctranslate2
    import torch
    from transformers import WhisperForConditionalGeneration

    folder = export_checkpoint(CTRANSLATE2, tiny_checkpoint, tmp_path, "float32").path
    features = np.random.default_rng(1).standard_normal((1, 80, 3000)).astype(np.float32)
    model = ctranslate2.models.Whisper(str(folder), device="cpu", intra_threads=1)
    states = np.array(model.encode(ctranslate2.StorageView.from_array(features)))
    reference = WhisperForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    with torch.inference_mode():
        expected = reference.model.encoder(torch.from_numpy(features)).last_hidden_state.numpy()
    assert states == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes_in_another_process(
    artefact: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from habla_ml.export.ctranslate2 import CTRANSLATE2\n"
        "from habla_ml_tests.testing.export_checkpoint import export_checkpoint\n"
        "export_checkpoint(CTRANSLATE2, Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(tiny_checkpoint), str(tmp_path)]
    subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "99"}, timeout=300, check=True)
    for path in artefact.iterdir():
        assert compute_sha256(path) == compute_sha256(tmp_path / "model" / path.name)


def test_alignment_heads_and_languages_reach_the_engine(artefact: Path) -> None:
    config = json.loads((artefact / "config.json").read_text(encoding="utf-8"))
    assert config["alignment_heads"] == [[1, 0], [1, 1]]
    assert len(config["lang_ids"]) == 99


def test_the_list_of_quantisations_is_that_of_the_library() -> None:
    from ctranslate2.specs.model_spec import ACCEPTED_MODEL_TYPES

    assert QUANTISATIONS == ACCEPTED_MODEL_TYPES


def test_an_unknown_quantisation_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ExportError, match=r"'int4' is unknown .*choose one of int8, .*, float32"):
        CTRANSLATE2.build_options(ExportSettings(ctranslate2_quantisation="int4"))
