"""The zip has reproducible bytes, describes itself, and contains all that the phone needs offline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.coreml.archive import COREML, build_coreml_archive, write_archive
from habla_ml.export.exporter import ConvertedModel, ExportOptions
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint, ignore_progress

pytestmark = pytest.mark.slow

IDENTITY = {"model_version": "v1", "snapshot": "sha256:00"}

FAKE_COMPILER = """#!/bin/sh
# Replaces Apple's `xcrun --find coremlcompiler` and `xcrun coremlcompiler compile PACKAGE FOLDER`.
case "$1" in
--find) exit {find_status} ;;
coremlcompiler)
  [ -d "$3" ] || exit 9
  echo "{message}" >&2
  [ {compile_status} -eq 0 ] && mkdir "$4/$(basename "$3" .mlpackage).mlmodelc" &&
    echo compiled >"$4/$(basename "$3" .mlpackage).mlmodelc/model.mil"
  exit {compile_status} ;;
esac
"""


def install_compiler(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, find_status: int = 0, compile_status: int = 0
) -> None:
    folder.mkdir()
    script = FAKE_COMPILER.format(find_status=find_status, compile_status=compile_status, message="unsupported op")
    (folder / "xcrun").write_text(script)
    (folder / "xcrun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def read_archive_manifest(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        return dict(json.loads(archive.read("manifest.json")))


def write(model: ConvertedCheckpoint, folder: Path, origin: Mapping[str, str] = IDENTITY) -> ConvertedModel:
    return write_archive(folder, model.conversion, folder / "archive.zip", origin, ignore_progress)


def test_the_same_checkpoint_gives_the_same_zip_byte_for_byte_with_another_number_of_threads(
    converted_model: ConvertedCheckpoint,
    models: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = write(converted_model, models)  # converted with two threads
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ExportOptions("float16", 900.0, IDENTITY)
    again = build_coreml_archive(tiny_checkpoint, tmp_path, options, ignore_progress)
    assert once.path.read_bytes() == again.path.read_bytes()


def test_another_origin_gives_another_zip_with_the_same_files(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(models, tmp_path / "copy"))
    first = write(converted_model, models, {"model_version": "v1"})
    second = write(converted_model, copy, {"model_version": "v2"})
    assert first.path.read_bytes() != second.path.read_bytes()
    assert first.details == second.details


def test_the_manifest_states_format_vocabulary_quantisation_and_every_file(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path
) -> None:
    made = write(converted_model, models)
    manifest = read_archive_manifest(made.path)
    assert manifest["identity"] == IDENTITY
    assert (manifest["model_format"], manifest["must_be_compiled_by_the_app"]) == ("mlpackage", True)
    assert (manifest["specification_version"], manifest["minimum_ios"]) == (7, "16.0")
    assert (manifest["vocab_size"], manifest["has_whisperkit_vocab_size"]) == (1865, False)
    assert manifest["quantisation"] == "float16"
    assert "parity" not in manifest, "what was measured here would make the bytes depend on the machine"
    assert made.details["parity"]["same_argmax"] == 8
    with zipfile.ZipFile(made.path) as archive:
        names = set(archive.namelist()) - {"manifest.json"}
        listed = {file["path"]: file for file in manifest["files"]}  # type: ignore[attr-defined]
        assert names == listed.keys()
        for name in names:
            content = archive.read(name)
            assert listed[name]["sha256"] == hashlib.sha256(content).hexdigest()
            assert listed[name]["size_bytes"] == len(content)


def test_the_phone_finds_programs_tokenizer_and_configs_at_the_root(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path
) -> None:
    made = write(converted_model, models)
    roots = {file["path"].split("/")[0] for file in made.details["files"]}
    assert roots == {
        "AudioEncoder.mlpackage",
        "MelSpectrogram.mlpackage",
        "TextDecoder.mlpackage",
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_coremltools_opens_an_unzipped_package(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path
) -> None:
    from coremltools.models import MLModel

    made = write(converted_model, models)
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path / "phone")
    model = MLModel(str(tmp_path / "phone" / "TextDecoder.mlpackage"), skip_model_load=True)
    assert model.get_spec().description.output[0].name == "logits"
    assert "com.github.apple.coremltools.conversion_date" not in model.user_defined_metadata


def test_with_apples_compiler_the_archive_contains_compiled_models(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_compiler(tmp_path / "bin", monkeypatch)
    made = write(converted_model, models)
    assert made.details["model_format"] == "mlmodelc"
    assert read_archive_manifest(made.path)["must_be_compiled_by_the_app"] is False
    assert "TextDecoder.mlmodelc/model.mil" in {file["path"] for file in made.details["files"]}
    assert not [file["path"] for file in made.details["files"] if ".mlpackage" in file["path"]]


def test_without_apples_compiler_the_archive_contains_packages(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_compiler(tmp_path / "bin", monkeypatch, find_status=72)
    made = write(converted_model, models)
    assert made.details["model_format"] == "mlpackage"


def test_a_failure_of_the_compiler_is_reported(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_compiler(tmp_path / "bin", monkeypatch, compile_status=3)
    with pytest.raises(ExportError, match=r"MelSpectrogram\.mlpackage \(status 3\): unsupported op"):
        write(converted_model, models)


def test_the_demo_base_model_becomes_a_verified_archive(tmp_path: Path) -> None:
    lines: list[str] = []
    made = export_checkpoint(COREML, BASE_MODEL, tmp_path, progress=lines.append)
    assert made.path.stat().st_size < 20_000_000
    assert made.details["parity"]["same_argmax"] == made.details["parity"]["compared_tokens"]
    assert lines[-1] == f"coreml: packing the archive of .{made.details['model_format']}"
