"""Clips without speech: every word that a model writes for them is invented.

There are three sources, in ascending order of quality: synthetic sounds from a seed, WAVs in a folder of the user, and
segments of the test split's sessions that a person marked as without speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from habla_ml.audio import SAMPLE_RATE, decode_flac, decode_wav, dequantise, pcm_sha256
from habla_ml.corpus.non_speech_segments import MAX_NON_SPEECH_SEGMENTS, read_non_speech_segments
from habla_ml.errors import InputError
from habla_ml.evaluation.metrics.non_speech_sounds import NON_SPEECH_SOUNDS, synthesise_non_speech
from habla_ml.lake import Lake, compute_digest
from habla_ml.names import escape_name
from habla_ml.transcription.audio_check import WINDOW_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.corpus.snapshot import OpenSplit, Snapshot
    from habla_ml.settings import EvaluationSettings

NonSpeechSource = Literal["built-in", "folder", "marked"]

_BUILT_IN_SHAPES: Final = ((1.0, -50.0), (2.5, -38.0), (6.0, -28.0))
"""Length in s and level in dBFS of the sounds of each kind."""


@dataclass(frozen=True)
class NonSpeechClip:
    """A clip without speech; it has the fields of a `Clip` for an engine."""

    clip_id: str
    """`hum 3 s -45 dBFS`, a path below the folder, or a segment id."""
    kind: str
    """A built-in sound, the name of the file's folder, or `marked`."""
    source: NonSpeechSource
    group: str
    """The bootstrap unit: clips of one kind, or of one session, are similar."""
    audio_sha256: str
    """sha256 of the 16 kHz PCM."""
    duration_s: float
    audio: NDArray[np.float32]
    """16 kHz mono samples in −1…1, shape [n_samples]."""


@dataclass(frozen=True)
class NonSpeechSet:
    """Distinct clips without speech, and the files that cannot be used."""

    clips: tuple[NonSpeechClip, ...]
    problems: tuple[str, ...] = ()
    """Skipped files, each with the reason."""

    @property
    def digest(self) -> str:
        """sha256 of the sounds and their kinds; figures of different sets are not comparable."""
        return compute_digest(sorted([each.kind, each.audio_sha256] for each in self.clips))


def build_non_speech_set(settings: EvaluationSettings, marked: Iterable[NonSpeechClip] = ()) -> NonSpeechSet:
    """Collect the marked clips, those of the folder in the settings and the built-in ones, each sound once.

    Args:
        settings: The folder, the seed of the built-in sounds and the number of their takes.
        marked: From `read_marked_clips`.

    Raises:
        InputError: The folder does not exist.
    """
    own, problems = read_folder_clips(settings.non_speech) if settings.non_speech is not None else ([], ())
    once: dict[str, NonSpeechClip] = {}
    for clip in (*marked, *own, *make_built_in_clips(settings.seed, settings.non_speech_takes)):
        once.setdefault(clip.audio_sha256, clip)
    return NonSpeechSet(tuple(once.values()), tuple(problems))


def make_built_in_clips(seed: int = 0, takes: int = 1) -> Iterator[NonSpeechClip]:
    """Make sixty sounds of twenty kinds, 1 to 6 s long, −50 to −28 dBFS, in several takes; the seed determines them.

    No training uses these kinds. Digital silence is the same in every take, so only the first take has it.
    """
    for take in range(takes):
        for at, kind in enumerate(NON_SPEECH_SOUNDS):
            if kind == "silence" and take:
                continue
            for number, (duration_s, level_dbfs) in enumerate(_BUILT_IN_SHAPES):
                pcm = synthesise_non_speech(
                    kind, duration_s, level_dbfs, np.random.default_rng([seed, take, at, number])
                )
                level = "" if kind == "silence" else f" {level_dbfs:g} dBFS"
                name = f"{kind} {duration_s:g} s{level}" + (f" take {take + 1}" if take else "")
                yield _make_clip(name, kind, "built-in", kind, pcm)


def read_folder_clips(folder: Path) -> tuple[list[NonSpeechClip], tuple[str, ...]]:
    """Read the WAVs at any depth below a folder, in the order of their paths; also return the faults of the others.

    Raises:
        InputError: The folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; set evaluation.non_speech to a folder of WAVs without speech, or remove the setting"
        )
    clips, problems = [], []
    for path in sorted(each for each in folder.rglob("*") if each.suffix.lower() == ".wav" and each.is_file()):
        name = PurePosixPath(escape_name(path.relative_to(folder).as_posix()))
        try:
            pcm = decode_wav(path.read_bytes(), WINDOW_S)
        except InputError as error:
            problems.append(f"{name} {error}")
            continue
        kind = name.parent.name or "folder"
        clips.append(_make_clip(str(name), kind, "folder", f"folder/{kind}", pcm))
    return clips, tuple(problems)


def read_marked_clips(
    lake: Lake, snapshot: Snapshot, split: OpenSplit = "test", most: int = MAX_NON_SPEECH_SEGMENTS
) -> Iterator[NonSpeechClip]:
    """Yield the segments of the split's sessions that a person marked as without speech, in the order of their ids."""
    for each in read_non_speech_segments(lake, snapshot, split, most, WINDOW_S):
        audio = decode_flac(each.flac)
        yield NonSpeechClip(
            each.segment_id, "marked", "marked", each.session_id, each.audio_sha256, each.duration_s, audio
        )


def _make_clip(clip_id: str, kind: str, source: NonSpeechSource, group: str, pcm: NDArray[np.int16]) -> NonSpeechClip:
    return NonSpeechClip(clip_id, kind, source, group, pcm_sha256(pcm), len(pcm) / SAMPLE_RATE, dequantise(pcm))
