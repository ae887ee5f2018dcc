"""The zip is the same byte for byte, says what it is, and holds all that the phone needs offline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.coreml.archive import build_coreml_archive, write_archive
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint

pytestmark = pytest.mark.slow

BASE_MODEL = Path(__file__).parents[3] / "habla_ml" / "demo" / "base_model"
IDENTITY = {"model_version": "v1", "snapshot": "sha256:00"}

FAKE_COMPILER = """#!/bin/sh
# Stands in for Apple's: `xcrun --find coremlcompiler` and `xcrun coremlcompiler compile PACKAGE FOLDER`.
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


def test_the_same_checkpoint_gives_the_same_zip_byte_for_byte(
    converted_model: ConvertedCheckpoint, models: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    once = write_archive(models, converted_model.conversion, tmp_path / "once.zip", IDENTITY)
    work = tmp_path / "work"
    again = build_coreml_archive(tiny_checkpoint, work, tmp_path / "again.zip", IDENTITY, 900.0)
    assert once.path.read_bytes() == again.path.read_bytes()
    assert once.sha256 == again.sha256 == hashlib.sha256(again.path.read_bytes()).hexdigest()
    assert list(work.iterdir()) == []


def test_another_identity_gives_another_zip_with_the_same_files(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(models, tmp_path / "copy"))
    first = write_archive(models, converted_model.conversion, tmp_path / "1.zip", {"model_version": "v1"})
    second = write_archive(copy, converted_model.conversion, tmp_path / "2.zip", {"model_version": "v2"})
    assert first.sha256 != second.sha256
    assert first.files == second.files


def test_the_manifest_tells_form_vocabulary_parity_and_every_file(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path
) -> None:
    made = write_archive(models, converted_model.conversion, tmp_path / "model.zip", IDENTITY)
    manifest = read_archive_manifest(made.path)
    assert manifest["identity"] == IDENTITY
    assert (manifest["model_format"], manifest["must_be_compiled_by_the_app"]) == ("mlpackage", True)
    assert (manifest["specification_version"], manifest["minimum_ios"]) == (7, "16.0")
    assert (manifest["vocab_size"], manifest["has_whisperkit_vocab_size"]) == (1865, False)
    parity = manifest["parity"]
    assert isinstance(parity, dict)
    assert parity["same_argmax"] == 8
    assert parity["encoder_psnr_db"] == pytest.approx(converted_model.conversion.parity.encoder_psnr_db, rel=0.01)
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
    made = write_archive(models, converted_model.conversion, tmp_path / "model.zip", IDENTITY)
    roots = {file.path.split("/")[0] for file in made.files}
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


def test_an_unzipped_package_is_one_coremltools_opens(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path
) -> None:
    from coremltools.models import MLModel

    made = write_archive(models, converted_model.conversion, tmp_path / "model.zip", IDENTITY)
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path / "phone")
    model = MLModel(str(tmp_path / "phone" / "TextDecoder.mlpackage"), skip_model_load=True)
    assert model.get_spec().description.output[0].name == "logits"
    assert "com.github.apple.coremltools.conversion_date" not in model.user_defined_metadata


def test_where_apple_s_compiler_is_the_archive_holds_compiled_models(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_compiler(tmp_path / "bin", monkeypatch)
    made = write_archive(models, converted_model.conversion, tmp_path / "model.zip", IDENTITY)
    assert made.model_format == "mlmodelc"
    assert read_archive_manifest(made.path)["must_be_compiled_by_the_app"] is False
    assert "TextDecoder.mlmodelc/model.mil" in {file.path for file in made.files}
    assert not [file.path for file in made.files if ".mlpackage" in file.path]


def test_command_line_tools_without_the_compiler_leave_packages(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_compiler(tmp_path / "bin", monkeypatch, find_status=72)
    made = write_archive(models, converted_model.conversion, tmp_path / "model.zip", IDENTITY)
    assert made.model_format == "mlpackage"


def test_a_failing_compiler_is_told_and_leaves_no_zip(
    converted_model: ConvertedCheckpoint, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_compiler(tmp_path / "bin", monkeypatch, compile_status=3)
    with pytest.raises(ExportError, match=r"MelSpectrogram\.mlpackage \(status 3\): unsupported op"):
        write_archive(models, converted_model.conversion, tmp_path / "model.zip", IDENTITY)
    assert not list(tmp_path.glob("*model.zip*"))


def test_an_existing_zip_is_never_written_over(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_text("released")
    with pytest.raises(ExportError, match="exists already"):
        build_coreml_archive(tiny_checkpoint, tmp_path / "work", tmp_path / "model.zip", IDENTITY)
    assert (tmp_path / "model.zip").read_text() == "released"


def test_a_refused_checkpoint_leaves_neither_zip_nor_work(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not a folder"):
        build_coreml_archive(tmp_path / "nowhere", tmp_path / "work", tmp_path / "model.zip", IDENTITY)
    assert [path.name for path in tmp_path.rglob("*")] == ["work"]


def test_the_shipped_base_model_becomes_a_verified_archive(tmp_path: Path) -> None:
    lines: list[str] = []
    made = build_coreml_archive(BASE_MODEL, tmp_path, tmp_path / "base.zip", IDENTITY, 900.0, lines.append)
    assert made.size_bytes < 20_000_000
    assert made.parity.same_argmax == made.parity.compared_tokens
    assert lines[-1] == f"archive: base.zip, {made.size_bytes / 1e6:.1f} MB, holds .{made.model_format}"
