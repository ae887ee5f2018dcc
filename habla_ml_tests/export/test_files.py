"""An artefact's digest is its content's and nothing else's."""

from __future__ import annotations

import hashlib
from pathlib import Path

from habla_ml.export.files import compute_artefact_digest, list_artefact_files


def write_and_digest(folder: Path, content: dict[str, str]) -> str:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return compute_artefact_digest(list_artefact_files(folder))


def test_files_are_listed_with_forward_slashes_in_order(tmp_path: Path) -> None:
    write_and_digest(tmp_path, {"b": "", "a/c": "xyz"})
    first, second = list_artefact_files(tmp_path)
    assert (first.path, first.size_bytes, first.sha256) == ("a/c", 3, hashlib.sha256(b"xyz").hexdigest())
    assert (second.path, second.size_bytes) == ("b", 0)


def test_equal_content_elsewhere_has_the_same_digest(tmp_path: Path) -> None:
    content = {"model.bin": "weights", "config.json": "{}"}
    assert write_and_digest(tmp_path / "here", content) == write_and_digest(
        tmp_path / "there", dict(reversed(content.items()))
    )


def test_a_changed_byte_a_renamed_file_and_a_moved_byte_change_it(tmp_path: Path) -> None:
    contents = [{"a": "12", "b": "3"}, {"a": "12", "b": "4"}, {"a": "12", "c": "3"}, {"a": "1", "b": "23"}]
    digests = {write_and_digest(tmp_path / str(index), content) for index, content in enumerate(contents)}
    assert len(digests) == len(contents)
