"""`habla-ml transcribe` as a user runs it, with the demo's base model as the released one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import srt
from numpy.typing import NDArray

from habla_ml.lake import Lake
from habla_ml_tests.review.conftest import store
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.released_models import make_review_settings, release
from habla_ml_tests.transcription.conftest import base_artefact, lake, lesson, sentences

__all__ = ["base_artefact", "lake", "lesson", "sentences", "store"]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    make_review_settings(tmp_path)
    return tmp_path / "configs" / "test.yaml"


def run_transcribe(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_habla_ml("transcribe", "-p", str(profile), *arguments, COLUMNS="60")


@pytest.mark.slow
def test_the_released_model_transcribes_all_files_but_the_bad_one(
    profile: Path, lake: Lake, store: object, base_artefact: Path, lesson: NDArray[np.int16], tmp_path: Path
) -> None:
    release(lake, store, "v1", base_artefact, tmp_path)
    good, bad, output = tmp_path / "lesson [1].wav", tmp_path / "bad [x].wav", tmp_path / "out"
    soundfile.write(good, lesson, 16_000)
    bad.write_bytes(b"no audio")
    arguments = [str(bad), str(good), "--output", str(output)]
    ran = run_transcribe(profile, *arguments, "--format", "srt")
    assert ran.returncode == 1
    assert f"error: {bad}: is no audio of a known kind" in ran.stderr
    target = output / "lesson [1].srt"
    assert f"{good} → {target}" in ran.stdout
    cues = list(srt.parse(target.read_text("utf-8")))
    assert len(cues) >= 12
    assert not (output / "bad [x].srt").exists()
    assert run_transcribe(profile, str(good), "--output", str(output)).returncode == 0
    document = json.loads((output / "lesson [1].json").read_text("utf-8"))
    assert (document["model"], document["source"]) == ("v1", good.name)
    assert document["text"].split() == " ".join(cue.content for cue in cues).split()


def test_without_a_release_the_message_names_the_option(profile: Path, tmp_path: Path) -> None:
    ran = run_transcribe(profile, str(tmp_path / "a.wav"))
    assert ran.returncode == 1
    assert "channel stable has no release yet" in " ".join(ran.stderr.split())
    assert "--model base" in " ".join(ran.stderr.split())


def test_two_files_with_one_target_are_refused_before_anything_runs(profile: Path, tmp_path: Path) -> None:
    ran = run_transcribe(profile, "a.wav", "a.mp3", "--model", "base", "--format", "txt")
    assert ran.returncode == 1
    assert "a.wav and a.mp3 would both be written to a.txt" in " ".join(ran.stderr.split())
