"""The manifests of a bundle and of its result: a file that is not what the manifest says is never used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from habla_ml.errors import TrainingError
from habla_ml.training.bundle.manifest import (
    MANIFEST_FILE,
    RESULT_FILE,
    FileDigest,
    ResultManifest,
    check_files,
    digest_files,
    read_manifest,
)

GOOD = {
    "format": "habla_ml.bundle_result/1",
    "bundle": "b" * 64,
    "files": {"run.json": {"size_bytes": 3, "sha256": "a" * 64}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "result" / "checkpoint").mkdir(parents=True)
    (tmp_path / "result" / "run.json").write_bytes(b"run")
    (tmp_path / "result" / "checkpoint" / "weights.bin").write_bytes(b"weights")
    (tmp_path / "secret").write_bytes(b"run")
    return tmp_path / "result"


def test_files_are_listed_with_size_and_digest_below_their_folder(folder: Path) -> None:
    expected = {
        name: FileDigest(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in (("checkpoint/weights.bin", b"weights"), ("run.json", b"run"))
    }
    assert digest_files(folder) == expected
    assert list(digest_files(folder, without=["run.json"])) == ["checkpoint/weights.bin"]
    check_files(folder, expected)
    assert (MANIFEST_FILE, RESULT_FILE) == ("bundle.json", "result.json"), "bundles that exist have these names"


@pytest.mark.parametrize(
    ("content", "why"), [(b"ruN", "is damaged"), (b"run!", "is damaged"), (None, "is missing or no plain file")]
)
def test_a_file_that_was_changed_cut_or_lost_is_named(folder: Path, content: bytes | None, why: str) -> None:
    files, path = digest_files(folder), folder / "run.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(TrainingError, match=f"{path} {why}"):
        check_files(folder, files)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../secret", "which is outside the folder"),
        ("checkpoint/../run.json", "which is outside the folder"),
        ("{folder}/run.json", "which is outside the folder"),
        ("outside/secret", "which is outside the folder"),
        ("link.json", "is missing or no plain file"),
        ("checkpoint", "is missing or no plain file"),
    ],
)
def test_a_manifest_reaches_no_file_outside_its_folder(folder: Path, name: str, why: str) -> None:
    (folder / "outside").symlink_to(folder.parent)
    (folder / "link.json").symlink_to("run.json")
    with pytest.raises(TrainingError, match=why):
        check_files(folder, {name.format(folder=folder): FileDigest.of(folder / "run.json")})


def test_a_manifest_is_read_with_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / RESULT_FILE
    path.write_text(json.dumps(GOOD), "utf-8")
    manifest, digest = read_manifest(path, ResultManifest)
    assert manifest.files["run.json"].size_bytes == 3
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory; name the folder of a bundle"),
        (b"{", "copy the folder again"),
        (json.dumps({**GOOD, "bundle": "B" * 64}).encode(), "bundle is wrong"),
        (
            json.dumps({**GOOD, "files": {"run.json": {"size_bytes": -1, "sha256": "a" * 64}}}).encode(),
            "size_bytes is wrong",
        ),
        (json.dumps({**GOOD, "format": "habla_ml.bundle/1"}).encode(), "format is wrong"),
        (json.dumps({**GOOD, "more": 1}).encode(), "more is wrong"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / RESULT_FILE
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=f"{path}.*{why}"):
        read_manifest(path, ResultManifest)


def test_a_file_that_is_too_large_for_a_manifest_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / RESULT_FILE
    path.write_bytes(json.dumps(GOOD).encode().ljust(1 << 20))
    monkeypatch.setattr("habla_ml.training.bundle.manifest._MAX_MANIFEST_BYTES", 1 << 20)
    assert read_manifest(path, ResultManifest)[0].bundle == "b" * 64
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(TrainingError, match="has more than 1 MiB, so it is no manifest"):
        read_manifest(path, ResultManifest)
