"""Paths in tables: as Windows, macOS and other machines write them, and never outside the table's folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from habla_ml.annotation.sources.tables.clip_paths import ClipFinder, split_audio_path
from habla_ml.errors import InputError

SESSION = "12345_20260216_143022"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tabla"
    for name in ("clips/Niños 1.wav", f"{SESSION}/segment_001.wav", "dos.WAV", "back\\slash.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "outside.wav").touch()
    return root


@pytest.mark.parametrize(
    ("audio", "found"),
    [
        ("clips/Niños 1.wav", "clips/Niños 1.wav"),
        (r"clips\Niños 1.wav", "clips/Niños 1.wav"),
        (r".\clips\Niños 1.wav", "clips/Niños 1.wav"),
        ("CLIPS/NIÑOS 1.WAV", "clips/Niños 1.wav"),
        (unicodedata.normalize("NFD", "clips/Niños 1.wav"), "clips/Niños 1.wav"),
        ("dos.wav", "dos.WAV"),
        ("back\\slash.wav", "back\\slash.wav"),
        (rf"C:\Users\Lucía\recordings\{SESSION}\segment_001.wav", f"{SESSION}/segment_001.wav"),
        (rf"\\servidor\aula\{SESSION}\SEGMENT_001.WAV", f"{SESSION}/segment_001.wav"),
        (f"file:///C:/Users/ana/{SESSION}/segment_001.wav", f"{SESSION}/segment_001.wav"),
        ("file:///home/ana/clips/Ni%C3%B1os%201.wav", "clips/Niños 1.wav"),
        ("/home/ana/clips/Niños 1.wav", "clips/Niños 1.wav"),
        (r"D:\copia\Tabla\dos.wav", "dos.WAV"),
        (" clips/Niños 1.wav ", "clips/Niños 1.wav"),
    ],
)
def test_a_clip_is_found_however_its_path_is_written(folder: Path, audio: str, found: str) -> None:
    assert ClipFinder(folder).find(audio) == folder / found


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        ("../outside.wav", "leaves"),
        (r"..\outside.wav", "leaves"),
        (r"..\OUTSIDE.WAV", "does not exist"),
        (r"clips\..\..\outside.wav", "leaves"),
        (r"C:\x\..\tabla\dos.wav", "does not exist"),
        ("file:///../outside.wav", "does not exist"),
        ("clips/dos.wav", "does not exist"),
        (r"C:\otra\dos.wav", "does not exist"),
        ("dos.WAV/x.wav", "does not exist"),
    ],
)
def test_a_path_that_leaves_the_folder_or_names_no_clip_is_refused(folder: Path, audio: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ClipFinder(folder).find(audio)


def test_a_link_that_leaves_the_folder_is_refused_in_any_capitals(folder: Path) -> None:
    (folder / "link.wav").symlink_to(folder.parent / "outside.wav")
    (folder / "away").symlink_to(folder.parent)
    for audio in ("link.wav", "LINK.WAV", "away/outside.wav"):
        with pytest.raises(InputError, match="leaves"):
            ClipFinder(folder).find(audio)
    with pytest.raises(InputError, match="does not exist"):
        ClipFinder(folder).find("AWAY/OUTSIDE.WAV")


def test_two_files_that_differ_in_capitals_only_are_told_apart_or_refused(folder: Path) -> None:
    (folder / "Dos.wav").touch()
    assert ClipFinder(folder).find("Dos.wav") == folder / "Dos.wav"
    assert ClipFinder(folder).find("dos.WAV") == folder / "dos.WAV"
    with pytest.raises(InputError, match="2 files that differ in capitals or accents only; rename them"):
        ClipFinder(folder).find("DOS.WAV")


def test_the_literal_path_is_used_before_a_copy_with_the_same_end(folder: Path) -> None:
    (folder / "otra" / "clips").mkdir(parents=True)
    (folder / "otra" / "clips" / "Niños 1.wav").touch()
    assert ClipFinder(folder).find(r"otra\clips\Niños 1.wav") == folder / "otra" / "clips" / "Niños 1.wav"
    assert ClipFinder(folder).find(r"C:\x\otra\clips\Niños 1.wav") == folder / "otra" / "clips" / "Niños 1.wav"


def test_a_drive_of_windows_is_read_where_wsl_mounts_it(tmp_path: Path) -> None:
    root = tmp_path / "c" / "Users" / "ana" / "tabla"
    root.mkdir(parents=True)
    for path in (root / "a.wav", root.parent / "b.wav"):
        path.touch()
    finder = ClipFinder(root, drives=tmp_path)
    assert finder.find(r"C:\Users\ana\tabla\a.wav") == root / "a.wav"
    with pytest.raises(InputError, match="leaves the folder tabla"):
        finder.find(r"C:\Users\ana\b.wav")


@pytest.mark.parametrize(
    "audio",
    [
        f"recordings/{SESSION}/segment_001.wav",
        rf"C:\recordings\{SESSION}\segment_001.wav",
        f"file:///C:/{SESSION}/segment_001.wav",
    ],
)
def test_the_end_of_a_path_names_session_and_segment(audio: str) -> None:
    assert split_audio_path(audio) == (SESSION, "segment_001.wav")
