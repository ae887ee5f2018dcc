"""What was released is loaded by the libraries of its users: by path alone, without a network, after a signed download."""

from __future__ import annotations

import subprocess
import sys
import wave
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from habla_ml.client.model_updates import ModelUpdater, UpdateClient
from habla_ml.export.exporter import Exporter, PublishedExport
from habla_ml.export.registry import EXPORTERS
from habla_ml.lake import DirectoryStore
from habla_ml.release.keys import create_keys
from habla_ml.release.manifest import ArchiveMetadata
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import Signing, generate_key
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint
from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.release_drafts import make_draft
from habla_ml_tests.testing.trained_versions import fake_digest

_OFFLINE: Final = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise PermissionError(f"no network here: {event} {arguments}")
sys.addaudithook(refuse)
import wave, numpy as np
folder, recording = sys.argv[1:]
with wave.open(recording) as file:
    audio = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
"""
_LOADERS: Final = {
    "ctranslate2": """
from faster_whisper import WhisperModel
segments, _ = WhisperModel(folder, device="cpu").transcribe(audio, language="es", without_timestamps=True)
print("".join(each.text for each in segments))
""",
    "ggml": """
from pathlib import Path
from pywhispercpp.model import Model
[path] = Path(folder).glob("*.bin")
model = Model(str(path), language="es", no_timestamps=True, print_progress=False, redirect_whispercpp_logs_to=None)
print(" ".join(each.text for each in model.transcribe(audio)))
""",
    "onnx": """
import json
import onnxruntime
mel, encoder, decoder = (
    onnxruntime.InferenceSession(f"{folder}/{name}.onnx") for name in ("MelSpectrogram", "AudioEncoder", "TextDecoder")
)
window = np.zeros(480_000, np.float32)
window[: len(audio)] = audio
[features] = mel.run(None, {"audio": window})
[states] = encoder.run(None, {"melspectrogram_features": features})
caches = {each.name: np.zeros(each.shape, np.float32) for each in decoder.get_inputs() if each.name.endswith("_cache")}
outputs = [each.name for each in decoder.get_outputs()]
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
prompt = ["<|startoftranscript|>", "<|es|>", "<|transcribe|>", "<|notimestamps|>"]
tokens = [tokenizer.token_to_id(each) for each in prompt]
for at in range(60):
    update, padding = np.zeros((1, 448), np.float32), np.full((1, 448), -10_000, np.float32)
    update[0, at], padding[0, : at + 1] = 1, 0
    found = dict(zip(outputs, decoder.run(None, {
        "input_ids": np.array([tokens[at]], np.int32), "cache_length": np.array([at], np.int32), **caches,
        "kv_cache_update_mask": update, "encoder_output_embeds": states, "decoder_key_padding_mask": padding,
    })))
    for name in caches:
        caches[name][..., at] = found[f"{name}_updates"][..., 0]
    if at + 1 == len(tokens):
        tokens.append(int(found["logits"].argmax()))
        if tokens[-1] == tokenizer.token_to_id("<|endoftext|>"):
            break
print(tokenizer.decode(tokens))
""",
    "transformers": """
from transformers import WhisperForConditionalGeneration, WhisperProcessor
model = WhisperForConditionalGeneration.from_pretrained(folder)
processor = WhisperProcessor.from_pretrained(folder)
features = processor(audio, sampling_rate=16_000, return_tensors="pt").input_features
tokens = model.generate(features, language="es", task="transcribe")
print(processor.batch_decode(tokens, skip_special_tokens=True)[0])
""",
}
"""Programs of users by the label of the archive. Core ML is missing: only Apple's machines run it."""
_RELEASED: Final = [each for each in EXPORTERS if each.describe_archive is not None]


def test_every_released_format_has_a_loader_here() -> None:
    assert {each.name for each in _RELEASED} - {"coreml"} == set(_LOADERS)


def _describe(exporter: Exporter, quantisation: str, details: dict[str, object]) -> ArchiveMetadata:
    assert exporter.describe_archive is not None
    export = PublishedExport(fake_digest(exporter.name), fake_digest("checkpoint"), quantisation, 1, (), details)
    form = asdict(exporter.describe_archive(export))
    return ArchiveMetadata(label=exporter.name, quantisation=quantisation, artefact=export.artefact, **form)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Release the demo's base model in every format but Core ML, and install each archive from the CDN."""
    folder, now = tmp_path_factory.mktemp("released"), datetime.now(UTC)
    files, archives = {}, []
    for exporter in (each for each in _RELEASED if each.name in _LOADERS):
        made = export_checkpoint(exporter, BASE_MODEL, folder / exporter.name)
        files[exporter.name] = made.path
        archives.append(_describe(exporter, exporter.quantisations[0], dict(made.details)))
    store, root, key = DirectoryStore(folder / "cdn"), generate_key(), generate_key()
    create_keys(store, root, key, now)
    draft = make_draft("v2").model_copy(update={"archives": tuple(archives)})
    publish_release(store, None, "stable", draft, files, now, signing=Signing((key,), timedelta(days=90)))
    found = {}
    with serve_folder(folder / "cdn") as address:
        for label in files:
            client = UpdateClient("a", "1.0", {"ctranslate2": "habla"}.get(label, label))
            updater = ModelUpdater(address, folder / "installed" / label, client, store.read("keys/000001.json"))
            offer = updater.check()
            assert offer is not None
            found[label] = updater.install(offer)
            updater.close()
    return found


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return a sentence and its recording."""
    from tools.base_model.training_clips import synthesize_castilian_sentence

    text, pcm = synthesize_castilian_sentence(np.random.default_rng(7))
    path = tmp_path_factory.mktemp("spoken") / "sentence.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    return text, path


@pytest.mark.slow
@pytest.mark.parametrize("label", list(_LOADERS))
def test_the_users_library_transcribes_from_the_folder(
    label: str, installed: dict[str, Path], spoken: tuple[str, Path], tmp_path: Path
) -> None:
    text, recording = spoken
    command = [sys.executable, "-c", _OFFLINE + _LOADERS[label], str(installed[label]), str(recording)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == text.split()
