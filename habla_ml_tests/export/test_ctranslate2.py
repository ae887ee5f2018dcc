"""The converted folder is all that faster-whisper needs, and the same checkpoint gives the same bytes."""

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
from habla_ml.export.ctranslate2 import (
    CTRANSLATE2_FILES,
    QUANTISATIONS,
    CTranslate2Artefact,
    convert_to_ctranslate2,
)
from habla_ml.export.files import compute_artefact_digest, list_artefact_files
from habla_ml.lake import compute_sha256

BASE_MODEL = Path(__file__).parents[2] / "habla_ml" / "demo" / "base_model"

OFFLINE_TRANSCRIPTION_SCRIPT = """
import json, socket, sys

def refuse(*_):
    raise AssertionError("something asked for the network")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
import numpy as np
from faster_whisper import WhisperModel

model = WhisperModel(sys.argv[1], device="cpu", cpu_threads=1)
audio = (0.1 * np.random.default_rng(3).standard_normal(32000)).astype("float32")
options = {"beam_size": 1, "temperature": 0.0, "max_new_tokens": 8}
_, spanish = model.transcribe(audio, language="es", **options)
segments, detected = model.transcribe(audio, word_timestamps=True, **options)
heard = [segment.text for segment in segments]
print(json.dumps([model.model.is_multilingual, spanish.language, detected.language, model.model.n_mels, heard]))
"""


@pytest.fixture(scope="module")
def artefact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> CTranslate2Artefact:
    return convert_to_ctranslate2(tiny_checkpoint, tmp_path_factory.mktemp("ct2") / "int8")


def transcribe_offline(model: Path, empty_home: Path) -> list[object]:
    """In a process with an empty cache in which every connection is an error."""
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


def test_faster_whisper_runs_it_from_its_path_alone(artefact: CTranslate2Artefact, tmp_path: Path) -> None:
    multilingual, told, detected, n_mels, _ = transcribe_offline(artefact.folder, tmp_path)
    assert multilingual is True
    assert told == "es"
    assert detected in LANGUAGES
    assert n_mels == 80


def test_the_shipped_base_model_runs_from_its_path_alone(tmp_path: Path) -> None:
    lines: list[str] = []
    artefact = convert_to_ctranslate2(BASE_MODEL, tmp_path / "base", progress=lines.append)
    assert transcribe_offline(artefact.folder, tmp_path)[:2] == [True, "es"]
    assert [line.split(":")[0] for line in lines] == ["prepare", "prepare", "ctranslate2", "ctranslate2"]


def test_it_computes_what_the_checkpoint_computes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import ctranslate2
    import torch
    from transformers import WhisperForConditionalGeneration

    artefact = convert_to_ctranslate2(tiny_checkpoint, tmp_path / "float32", "float32")
    features = np.random.default_rng(1).standard_normal((1, 80, 3000)).astype(np.float32)
    model = ctranslate2.models.Whisper(str(artefact.folder), device="cpu", intra_threads=1)
    states = np.array(model.encode(ctranslate2.StorageView.from_array(features)))
    reference = WhisperForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    with torch.inference_mode():
        expected = reference.model.encoder(torch.from_numpy(features)).last_hidden_state.numpy()
    assert states == pytest.approx(expected, abs=1e-3)


def test_the_artefact_lists_what_lies_there(artefact: CTranslate2Artefact) -> None:
    assert artefact.quantisation == "int8"
    assert tuple(file.path for file in artefact.files) == CTRANSLATE2_FILES
    assert artefact.files == list_artefact_files(artefact.folder)
    assert artefact.size_bytes == sum(path.stat().st_size for path in artefact.folder.iterdir())
    assert artefact.files[1].sha256 == compute_sha256(artefact.folder / "model.bin")
    assert artefact.digest == compute_artefact_digest(artefact.files)


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes_in_another_process(
    artefact: CTranslate2Artefact, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from habla_ml.export.ctranslate2 import convert_to_ctranslate2 as convert\n"
        "print(convert(Path(sys.argv[1]), Path(sys.argv[2])).digest)"
    )
    command = [sys.executable, "-c", program, str(tiny_checkpoint), str(tmp_path / "again")]
    environment = os.environ | {"PYTHONHASHSEED": "99"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=True)
    assert done.stdout.strip() == artefact.digest


def test_alignment_heads_and_languages_reach_the_engine(artefact: CTranslate2Artefact) -> None:
    config = json.loads((artefact.folder / "config.json").read_text(encoding="utf-8"))
    assert config["alignment_heads"] == [[1, 0], [1, 1]]
    assert len(config["lang_ids"]) == 99


def test_quantisation_is_stored_and_sizes_follow_it(
    artefact: CTranslate2Artefact, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    half = convert_to_ctranslate2(tiny_checkpoint, tmp_path / "half", "float16")
    assert artefact.size_bytes < half.size_bytes
    assert half.digest != artefact.digest


def test_the_list_of_quantisations_is_the_library_s() -> None:
    from ctranslate2.specs.model_spec import ACCEPTED_MODEL_TYPES

    assert QUANTISATIONS == ACCEPTED_MODEL_TYPES


def test_an_unknown_quantisation_is_refused_with_the_valid_ones(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'int4'; choose one of int8, .*, float32"):
        convert_to_ctranslate2(tiny_checkpoint, tmp_path / "out", "int4")


def test_a_refused_checkpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    checkpoint = tmp_path / "adapter"
    checkpoint.mkdir()
    (checkpoint / "adapter_config.json").write_text("{}")
    with pytest.raises(ExportError, match="Merge the adapter"):
        convert_to_ctranslate2(checkpoint, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


def test_an_existing_folder_is_never_written_over(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    with pytest.raises(ExportError, match="exists already"):
        convert_to_ctranslate2(tiny_checkpoint, tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "kept"
