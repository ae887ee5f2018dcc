"""Clips in which nobody speaks: whatever a model writes for them is invented.

Three sources, the better one last: sounds made from a seed, a folder of the user's own WAVs, and segments of the test
split's sessions that a person listened to and found without speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from habla_ml.audio import SAMPLE_RATE, decode_flac, decode_wav, dequantise, pcm_sha256
from habla_ml.audio.background_sounds import BackgroundSound, synthesise_background
from habla_ml.corpus.non_speech_segments import MAX_NON_SPEECH_SEGMENTS, read_non_speech_segments
from habla_ml.errors import InputError
from habla_ml.lake import Lake, compute_digest
from habla_ml.transcription.audio_check import WINDOW_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.corpus.snapshot import Snapshot, Split
    from habla_ml.settings import EvaluationSettings

NonSpeechSource = Literal["built-in", "folder", "marked"]

_BUILT_IN: Final[tuple[tuple[BackgroundSound, float, float], ...]] = (
    ("silence", 0.5, -120.0),
    ("silence", 2.0, -120.0),
    ("silence", 8.0, -120.0),
    ("room", 1.0, -60.0),
    ("room", 3.0, -45.0),
    ("room", 8.0, -35.0),
    ("rumble", 1.5, -50.0),
    ("rumble", 4.0, -40.0),
    ("rumble", 7.0, -30.0),
    ("hum", 0.5, -60.0),
    ("hum", 3.0, -45.0),
    ("hum", 6.0, -35.0),
    ("fan", 2.0, -55.0),
    ("fan", 5.0, -40.0),
    ("fan", 8.0, -30.0),
    ("breath", 0.5, -50.0),
    ("breath", 1.0, -40.0),
    ("breath", 2.5, -35.0),
    ("breath", 5.0, -45.0),
    ("clicks", 0.5, -40.0),
    ("clicks", 1.5, -35.0),
    ("clicks", 4.0, -30.0),
    ("clicks", 8.0, -45.0),
    ("chair", 0.7, -35.0),
    ("chair", 1.5, -25.0),
    ("chair", 3.0, -30.0),
    ("murmur", 1.0, -50.0),
    ("murmur", 3.0, -45.0),
    ("murmur", 6.0, -38.0),
    ("murmur", 8.0, -50.0),
)
"""Kind, length in s, level in dBFS."""


@dataclass(frozen=True)
class NonSpeechClip:
    """A clip without speech; an engine takes it as a `Clip`."""

    clip_id: str
    """What it is, for a person: `hum 3 s -45 dBFS`, a path below the folder, or a segment id."""
    kind: str
    """A room sound, the name of the folder that the file lies in, or `marked`."""
    source: NonSpeechSource
    group: str
    """What is drawn together in a bootstrap: clips of one sound, or of one session, are alike."""
    audio_sha256: str
    """sha256 of the 16 kHz PCM."""
    duration_s: float
    audio: NDArray[np.float32]
    """Samples in −1…1 at 16 kHz, mono, shape [n_samples]."""


@dataclass(frozen=True)
class NonSpeechSet:
    """The clips on which every model is tried, each sound once, and what could not be used."""

    clips: tuple[NonSpeechClip, ...]
    problems: tuple[str, ...] = ()
    """Files that were set aside, each with why."""

    @property
    def digest(self) -> str:
        """sha256 over the sounds and their kinds: figures of two sets are not compared."""
        return compute_digest(sorted([each.kind, each.audio_sha256] for each in self.clips))


def build_non_speech_set(settings: EvaluationSettings, marked: Iterable[NonSpeechClip] = ()) -> NonSpeechSet:
    """Everything there is to try a model on without speech: marked segments first, then the folder, then our own.

    Args:
        settings: The folder, the seed of the sounds made here and how many takes of them.
        marked: What people found to be without speech, see `read_marked_clips`.

    Raises:
        InputError: The folder does not exist.
    """
    own, problems = read_folder_clips(settings.non_speech) if settings.non_speech is not None else ([], ())
    once: dict[str, NonSpeechClip] = {}
    for clip in (*marked, *own, *make_built_in_clips(settings.seed, settings.non_speech_takes)):
        once.setdefault(clip.audio_sha256, clip)
    return NonSpeechSet(tuple(once.values()), tuple(problems))


def make_built_in_clips(seed: int = 0, takes: int = 1) -> Iterator[NonSpeechClip]:
    """Thirty sounds of nine kinds, 0.5 to 8 s, −60 to −25 dBFS, `takes` of each; the same for the same seed.

    Digital silence sounds the same in every take and is given once.
    """
    for take in range(takes):
        for number, (kind, duration_s, loudness_dbfs) in enumerate(_BUILT_IN):
            if kind == "silence" and take:
                continue
            pcm = synthesise_background(kind, duration_s, loudness_dbfs, np.random.default_rng([seed, take, number]))
            level = "" if kind == "silence" else f" {loudness_dbfs:g} dBFS"
            name = f"{kind} {duration_s:g} s{level}" + (f" take {take + 1}" if take else "")
            yield _make_clip(name, kind, "built-in", kind, pcm)


def read_folder_clips(folder: Path) -> tuple[list[NonSpeechClip], tuple[str, ...]]:
    """The WAVs at any depth below a folder, by path, and what is wrong with the others.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; name one with WAVs without speech, or leave evaluation.non_speech empty"
        )
    clips, problems = [], []
    for path in sorted(each for each in folder.rglob("*") if each.suffix.lower() == ".wav" and each.is_file()):
        name = path.relative_to(folder)
        try:
            pcm = decode_wav(path.read_bytes(), WINDOW_S)
        except InputError as error:
            problems.append(f"{name} {error}")
            continue
        kind = name.parent.name or "folder"
        clips.append(_make_clip(name.as_posix(), kind, "folder", f"folder/{kind}", pcm))
    return clips, tuple(problems)


def read_marked_clips(
    lake: Lake, snapshot: Snapshot, split: Split = "test", most: int = MAX_NON_SPEECH_SEGMENTS
) -> Iterator[NonSpeechClip]:
    """Segments of the split's sessions that a person found to be without speech, in the order of their ids."""
    for each in read_non_speech_segments(lake, snapshot, split, most, WINDOW_S):
        yield NonSpeechClip(
            each.segment_id,
            "marked",
            "marked",
            each.session_id,
            each.audio_sha256,
            each.duration_s,
            decode_flac(each.flac),
        )


def _make_clip(clip_id: str, kind: str, source: NonSpeechSource, group: str, pcm: NDArray[np.int16]) -> NonSpeechClip:
    return NonSpeechClip(clip_id, kind, source, group, pcm_sha256(pcm), len(pcm) / SAMPLE_RATE, dequantise(pcm))
