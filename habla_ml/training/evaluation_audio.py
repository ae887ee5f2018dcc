"""Evaluation data must not be trained on: its audio and altered copies of it leave everything that a training reads.

Copies are found by the sha256 and by the fingerprint of the audio (`corpus.fingerprint_index`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from habla_ml.audio import decode_flac, decode_wav, dequantise, pcm_sha256
from habla_ml.audio.fingerprint import fingerprint
from habla_ml.corpus.fingerprint_index import FingerprintSet, find_near_duplicates
from habla_ml.corpus.general_speech import GeneralSpeech, leave_out_sounds, split_by_source
from habla_ml.corpus.non_speech_segments import MAX_NON_SPEECH_SEGMENTS, read_non_speech_segments
from habla_ml.corpus.snapshot import Snapshot, Split, Utterance, iterate_days
from habla_ml.corpus.stored_fingerprints import DayFingerprints
from habla_ml.errors import CorpusError, InputError
from habla_ml.lake import Lake
from habla_ml.lake.shards import iterate_batches
from habla_ml.training.windows import FRAMES_PER_S, FULL_FRAMES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FingerprintWords = NDArray[np.uint32]

MAX_ANNOTATED_NON_SPEECH: Final = 2_000
LONGEST_CLIP_S: Final = FULL_FRAMES / FRAMES_PER_S
MAX_SOURCE_SHARE: Final = 0.05
"""A source with a larger share of evaluation audio is refused: it is probably the test set, and the search for copies
does not find all."""
MAX_SET_SHARE: Final = 0.5
"""So is a source with a larger share of the clips of one set of evaluation data."""


@dataclass(frozen=True)
class EvaluationAudio:
    """The held-out splits of a snapshot, the general speech and the clips without speech that test a model."""

    lake: Lake
    snapshot: Snapshot
    out_of_domain: tuple[Utterance, ...] = ()
    """Clips of `evaluation.out_of_domain`."""
    non_speech_folder: Path | None = None
    """`evaluation.non_speech`."""

    @cached_property
    def set_names(self) -> Mapping[str, str]:
        """The sha256 of each sound → the name of its set."""
        names = dict.fromkeys(self.non_speech.names, "the clips without speech")
        names |= {each.audio_sha256: "evaluation.out_of_domain" for each in self.out_of_domain}
        for batch in iterate_batches(self.lake, self.snapshot.segments, ["audio_sha256", "split"]):
            held_out = batch.filter(pc.not_equal(batch["split"], "train"))
            names |= {row["audio_sha256"]: f"the classroom's {row['split']} split" for row in held_out.to_pylist()}
        return names

    @cached_property
    def general_speech(self) -> FingerprintSet:
        """The fingerprints of `out_of_domain`."""
        return fingerprint_utterances(self.out_of_domain)

    @cached_property
    def non_speech(self) -> FingerprintSet:
        """The fingerprints of the clips without speech: those of the held-out sessions and of the folder."""
        held_out = [split for split in self.snapshot.counts if split != "train"]
        marked = (self.read_marked_sounds(split, MAX_NON_SPEECH_SEGMENTS) for split in held_out)
        return FingerprintSet.of(chain(*marked, _read_folder(self.non_speech_folder)))

    def read_marked_sounds(self, split: Split, most: int) -> Iterator[tuple[str, FingerprintWords]]:
        """Yield sha256 and fingerprint of the segments that people marked as without speech in the split's sessions."""
        for each in read_non_speech_segments(self.lake, self.snapshot, split, most, LONGEST_CLIP_S):
            yield each.audio_sha256, fingerprint(decode_flac(each.flac))

    def open_classroom(self, *, train: bool) -> DayFingerprints:
        """Return the stored fingerprints of the train split, or of the held-out splits."""
        return DayFingerprints(self.lake, self.snapshot.recordings, lambda: self.read_sounds(train=train))

    def read_sounds(self, *, train: bool) -> Iterator[tuple[str, list[str]]]:
        """Yield the sounds of the train split, or of the held-out splits, by day."""
        for day, rows in iterate_days(self.lake, self.snapshot, ["audio_sha256", "split"]):
            is_train = pc.equal(rows["split"], "train")
            yield day, rows.filter(is_train if train else pc.invert(is_train))["audio_sha256"].to_pylist()

    def find_copies(self, trained: FingerprintSet) -> Iterator[tuple[str, str]]:
        """Yield (trained sound, evaluation sound) that are equal or nearly equal."""
        yield from ((sound, sound) for sound in _select_equal(trained.names, self.set_names))
        sets = chain([self.general_speech, self.non_speech], self.open_classroom(train=False))
        for pair in find_near_duplicates(sets, [trained]):
            yield pair.found, pair.indexed


def leave_out_evaluation_audio(key: str, speech: GeneralSpeech, evaluation: EvaluationAudio) -> GeneralSpeech:
    """Return the general speech of the settings key without evaluation audio, which its sources count.

    Raises:
        CorpusError: A source has more than `MAX_SOURCE_SHARE` evaluation audio, or more than `MAX_SET_SHARE` of one set.
    """
    if not speech.utterances:
        return speech
    copies: dict[str, set[str]] = {}
    for sound, of in evaluation.find_copies(fingerprint_utterances(speech.utterances)):
        copies.setdefault(sound, set()).add(of)
    for source, clips in split_by_source(speech):
        found = {each.audio_sha256: copies[each.audio_sha256] for each in clips if each.audio_sha256 in copies}
        _check_shares(f"{key} ({source.name})", len(clips), found, evaluation.set_names)
    return leave_out_sounds(speech, copies)


def find_classroom_copies(evaluation: EvaluationAudio, *, with_non_speech: bool) -> dict[str, frozenset[str]]:
    """Return `train` and `non-speech` → the classroom's training sounds that nearly equal evaluation data.

    The held-out splits are compared with train when a snapshot is made, and here only for one of an older version.
    """
    sets: Iterable[FingerprintSet] = [evaluation.general_speech]
    if evaluation.snapshot.near_duplicates is None:
        sets = chain(sets, evaluation.open_classroom(train=False))
    train = evaluation.open_classroom(train=True)
    out_of_domain = {each.audio_sha256 for each in evaluation.out_of_domain}
    sounds = chain.from_iterable(of_day for _, of_day in evaluation.read_sounds(train=True))
    near = (pair.found for pair in find_near_duplicates(sets, train))
    found = {"train": frozenset(chain(near, _select_equal(sounds, out_of_domain)))}
    if with_non_speech:
        trained = FingerprintSet.of(evaluation.read_marked_sounds("train", MAX_ANNOTATED_NON_SPEECH))
        near = (pair.found for pair in find_near_duplicates([evaluation.non_speech], [trained]))
        found["non-speech"] = frozenset(chain(near, _select_equal(trained.names, set(evaluation.non_speech.names))))
    return {part: sounds for part, sounds in found.items() if sounds}


def fingerprint_utterances(utterances: Iterable[Utterance]) -> FingerprintSet:
    """Return the fingerprints of utterances, named by the sha256 of their audio."""
    return FingerprintSet.of((each.audio_sha256, fingerprint(each.audio)) for each in utterances)


def _select_equal(sounds: Iterable[str], evaluation: Collection[str]) -> Iterator[str]:
    """Yield the sounds that are evaluation data themselves, because too short ones have no fingerprint."""
    return (each for each in sounds if each in evaluation)


def _check_shares(where: str, n_clips: int, found: Mapping[str, set[str]], set_names: Mapping[str, str]) -> None:
    sizes = Counter(set_names.values())
    by_set = Counter(set_names[sound] for sound in set().union(*found.values()))
    if len(found) <= MAX_SOURCE_SHARE * n_clips and all(n <= MAX_SET_SHARE * sizes[name] for name, n in by_set.items()):
        return
    sets = ", ".join(f"{n} of the {sizes[name]} clips of {name}" for name, n in by_set.most_common())
    raise CorpusError(
        f"{len(found)} of {n_clips} clips of {where} are evaluation audio or altered copies of it: {sets}. At most "
        f"{MAX_SOURCE_SHARE:.0%} of a source and {MAX_SET_SHARE:.0%} of a set are removed automatically; remove the "
        "evaluation data from this source"
    )


def _read_folder(folder: Path | None) -> Iterator[tuple[str, FingerprintWords]]:
    """Yield sha256 and fingerprint of the readable WAVs of a folder."""
    if folder is None:
        return
    for path in sorted(each for each in folder.rglob("*") if each.suffix.lower() == ".wav" and each.is_file()):
        try:
            pcm = decode_wav(path.read_bytes(), LONGEST_CLIP_S)
        except InputError:
            continue  # the evaluation skips it too, and reports it
        yield pcm_sha256(pcm), fingerprint(dequantise(pcm))
