"""General speech on disk: tables, Common Voice folders and Hugging Face datasets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import GeneralSpeech, read_general_speech
from habla_ml.settings import SpeechSource
from habla_ml_tests.testing.habla_sessions import V1

CONVENTIONS_V1 = load_conventions(V1)
CC0 = {"licence": "CC0-1.0", "origin": "https://example.org/corpus"}
SPONTANEOUS_HEADER = (
    *("client_id", "audio_id", "audio_file", "duration_ms", "prompt_id", "prompt", "transcription", "votes", "age"),
    *("gender", "accents", "variant", "language", "split", "char_per_sec", "quality_tags"),
)
HEADER = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "locale")


def read_speech(
    tmp_path: Path, *sources: SpeechSource, max_duration_s: float = 30, erased: Collection[str] = ()
) -> GeneralSpeech:
    return read_general_speech(sources, CONVENTIONS_V1, max_duration_s, tmp_path / "scratch", erased)


def write_speech_table(folder: Path, rows: list[tuple[str, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "fine_tune_dataset.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("audio_path", "transcript", "speaker"), *((*row, "Ana") for row in rows)])
    return path


def encode_tone(seed: int, kind: str = "MP3", seconds: float = 1.0) -> bytes:
    out = io.BytesIO()
    tone = np.sin(np.arange(round(48_000 * seconds)) * (0.02 + 0.003 * seed)) * 0.3
    soundfile.write(out, tone, 48_000, format=kind)
    return out.getvalue()


def make_common_voice_row(number: int, **changes: str) -> dict[str, str]:
    return {
        "client_id": f"{number % 2:0128x}",
        "path": f"common_voice_es_{number}.mp3",
        "sentence": f"Esta es la frase {number}.",
        "up_votes": "2",
        "down_votes": "0",
        "age": "",
        "gender": "",
        "accents": "Andalucía" if number % 2 else "México",
        "locale": "es",
        **changes,
    }


def write_common_voice(folder: Path, rows: list[dict[str, str]], **settings: Any) -> SpeechSource:
    (folder / "clips").mkdir(parents=True)
    lines = ["\t".join(HEADER), *("\t".join(row[name] for name in HEADER) for row in rows)]
    (folder / "validated.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    for number, row in enumerate(rows):
        if "/" not in row["path"]:
            (folder / "clips" / row["path"]).write_bytes(encode_tone(number))
    return SpeechSource.model_validate({"path": folder, "kind": "common_voice", **CC0, **settings})


def write_spontaneous_speech(folder: Path, rows: list[dict[str, str]], **settings: Any) -> SpeechSource:
    """Write a release of Common Voice Spontaneous Speech; a row names its `transcription` and other cells."""
    (folder / "audios").mkdir(parents=True)
    lines = ["\t".join(SPONTANEOUS_HEADER)]
    for number, row in enumerate(rows):
        cells = {"client_id": f"{number % 2:0128x}", "audio_file": f"spontaneous-speech-es-{number}.mp3", **row}
        lines.append("\t".join(cells.get(name, "") for name in SPONTANEOUS_HEADER))
        (folder / "audios" / cells["audio_file"]).write_bytes(encode_tone(number))
    (folder / "ss-corpus-es.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return SpeechSource.model_validate({"path": folder, "kind": "common_voice", **CC0, **settings})


def write_hugging_face(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> SpeechSource:
    """Save bytes and paths unchanged; `save_to_disk` with an Audio column would open the files and embed them."""
    from datasets import Dataset, Features, Value

    kinds = {"bytes": Value("binary"), "path": Value("string")}
    others = {"sentence": Value("string"), "speaker_id": Value("int64")}
    Dataset.from_list(rows, features=Features({"audio": kinds, **others})).save_to_disk(str(folder))
    info = json.loads((folder / "dataset_info.json").read_text())
    info["features"]["audio"] = {"_type": "Audio"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return SpeechSource.model_validate({"path": folder, "kind": "hf", **CC0, **settings})


def make_dataset_row(number: int, kind: str = "FLAC", **changes: Any) -> dict[str, Any]:
    audio = {"bytes": encode_tone(number, kind), "path": f"{number}.{kind.lower()}"}
    return {"audio": audio, "sentence": f"Frase {number}.", "speaker_id": number % 2, **changes}


def list_sentences(found: GeneralSpeech) -> list[str]:
    return [each.sentence for each in found.utterances]
