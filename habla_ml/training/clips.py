"""The clips of a run: a small index with lengths and labels, and the samples.

A snapshot stores audio as FLAC in one table per day, but training reads clips in random order, many times. So each clip is
decoded once to 16-bit samples on the local disk, 11.5 GB for 100 hours. Classroom speech is in shards of the lake's cache
(`clip_shards`), which runs and processes share. General speech and clips without speech are in a file of the run.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np

from habla_ml.audio import SAMPLE_RATE, dequantise, quantise
from habla_ml.audio.background_sounds import synthesise_random_background
from habla_ml.corpus.snapshot import StoredUtterance, TranscribedSegment, Utterance
from habla_ml.lake import Lake
from habla_ml.training.augmentation import Augmentation
from habla_ml.training.augmenter import Augmenter
from habla_ml.training.clip_shards import ClipPlace, PlaceWriter, StoredAudio
from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import ClipUse
from habla_ml.training.spec_augment import FeatureMasker
from habla_ml.training.target_forms import PLAIN_MIX, Target, TargetBuilder, TargetForms, TargetFormsWriter, TargetMix
from habla_ml.training.targets import TargetEncoder, UntrainableSentenceError
from habla_ml.training.windows import FRAME_SAMPLES, FULL_FRAMES

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

INDEX_FILE: Final = "index.npz"
SAMPLES_FILE: Final = "samples.i16"
_MAX_CLIP_SAMPLES = FULL_FRAMES * FRAME_SAMPLES
_SOUND_STREAM = 0x50
_RANDOM_TOKEN_STREAM = 0x51
_RANDOM_TOKEN_SHARE = 0.5

AnyUtterance = Utterance | StoredUtterance
_Segment = TypeVar("_Segment", bound=TranscribedSegment)


@dataclass(frozen=True)
class NonSpeech:
    """Non-speech clips of a run, with no text as their target; the same seed gives the same clips.

    After a few hundred steps on speech alone, Whisper hallucinates a sentence for every cough. Segments that people
    marked as non-speech are used first; synthesised background sounds fill the remaining share.
    """

    share: float = 0.0
    """Share of all clips of the run; 0 for none."""
    seed: int = 0
    annotated: Iterable[NDArray[np.int16]] = ()
    """Samples (16 kHz, mono) of segments that people marked as non-speech."""
    n_clips: int | None = None
    """Number of clips in place of the share."""

    def clips(self, n_speech: int, n_pieces: int) -> Iterator[tuple[NDArray[np.int16], int | None]]:
        """Yield the samples of each clip and its random token below `n_pieces` (see `TargetEncoder.encode_silence`)."""
        n_clips = round(n_speech * self.share / (1 - self.share)) if self.n_clips is None else self.n_clips
        rng = np.random.default_rng([self.seed, _RANDOM_TOKEN_STREAM])
        for _, pcm in zip(range(n_clips), self._iterate_sounds(), strict=False):
            token = int(rng.integers(n_pieces))
            yield pcm, token if rng.random() < _RANDOM_TOKEN_SHARE else None

    def _iterate_sounds(self) -> Iterator[NDArray[np.int16]]:
        yield from self.annotated
        rng = np.random.default_rng([self.seed, _SOUND_STREAM])
        while True:
            yield synthesise_random_background(rng)


_WITHOUT_NON_SPEECH = NonSpeech()


@dataclass(frozen=True)
class ClipStore:
    """Clips and their labels, by index."""

    samples: NDArray[np.int16]
    """The clips that are not in the lake, in sequence, 16 kHz; a memory map."""
    starts: NDArray[np.int64]
    """First sample of each clip if all were in sequence, and the end; shape [clips + 1]. Non-speech clips are last."""
    labels: NDArray[np.int32]
    label_starts: NDArray[np.int64]
    n_speech: int
    skipped: Mapping[str, int]
    """Reason → unusable utterances."""
    forms: TargetForms | None = None
    """The other forms of the targets; None where all have the usual one."""
    stored: StoredAudio | None = None
    """The clips that are in the lake."""
    n_classroom: int = 0
    """The first clips, which are of the snapshot."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def speech_hours(self) -> float:
        """Hours of the clips with speech."""
        return float(self.starts[self.n_speech]) / SAMPLE_RATE / 3600

    @property
    def durations_s(self) -> NDArray[np.float64]:
        """Duration of each clip."""
        return np.diff(self.starts) / SAMPLE_RATE

    @property
    def label_counts(self) -> NDArray[np.int64]:
        """Number of labels of each clip, in the longest form of its target."""
        counts: NDArray[np.int64] = np.diff(self.label_starts)
        return counts if self.forms is None else self.forms.count_most_labels(counts)

    def take(self, n_clips: int) -> ClipStore:
        """Return the store of at most the first `n_clips` clips; it shares the samples."""
        return replace(
            self,
            starts=self.starts[: n_clips + 1],
            label_starts=self.label_starts[: n_clips + 1],
            n_speech=min(self.n_speech, n_clips),
        )

    def audio(self, clip: int) -> NDArray[np.float32]:
        """Return the samples of one clip, −1…1."""
        if self.stored is not None and self.stored.has(clip):
            return dequantise(self.stored.read(clip))
        return dequantise(self.samples[self._sample_starts[clip] : self._sample_starts[clip + 1]])

    def label_ids(self, clip: int) -> list[int]:
        """Return the labels of one clip."""
        ids: list[int] = self.labels[self.label_starts[clip] : self.label_starts[clip + 1]].tolist()
        return ids

    def fetch(self, report: Callable[[str], None]) -> None:
        """Decode the clips of the lake to its cache before the run; `report` gets a line about it."""
        if self.stored is not None:
            self.stored.fetch(len(self), report)

    @cached_property
    def _sample_starts(self) -> NDArray[np.int64]:
        """First of `samples` of each clip, and the end."""
        if self.stored is None:
            return self.starts
        is_local = self.stored.clip_places[: len(self), 0] < 0
        return np.concatenate([[0], np.cumsum(np.where(is_local, np.diff(self.starts), 0))])


def write_clips(
    utterances: Iterable[AnyUtterance],
    targets: TargetEncoder,
    folder: Path,
    non_speech: NonSpeech = _WITHOUT_NON_SPEECH,
    mix: TargetMix = PLAIN_MIX,
    lake: Lake | None = None,
) -> ClipStore:
    """Write speech and non-speech clips to `folder`, atomically, and open them; an existing folder is only opened.

    Utterances without samples, above 30 s, or with an untrainable sentence are skipped and counted. `mix` says which forms
    of targets are needed. Only the place in `lake` is written of a stored utterance.
    """
    if not folder.exists():
        attempt = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(attempt, ignore_errors=True)
        attempt.mkdir(parents=True)
        _write_clips(utterances, targets, attempt, non_speech, mix, lake)
        attempt.rename(folder)
    return open_clips(folder, lake)


def _write_clips(
    utterances: Iterable[AnyUtterance],
    targets: TargetEncoder,
    folder: Path,
    non_speech: NonSpeech,
    mix: TargetMix,
    lake: Lake | None,
) -> None:
    skipped: Counter[str] = Counter()
    ends, label_ends = [0], [0]
    labels: list[int] = []
    forms, places = TargetFormsWriter(targets, mix), PlaceWriter()
    with (folder / SAMPLES_FILE).open("wb") as file:

        def add(n_samples: int, ids: Sequence[int], place: ClipPlace | None = None) -> None:
            places.add(place)
            ends.append(ends[-1] + n_samples)
            labels.extend(ids)
            label_ends.append(len(labels))

        def write(pcm: NDArray[np.int16], ids: Sequence[int]) -> None:
            file.write(pcm.astype("<i2").tobytes())
            add(len(pcm), ids)

        for utterance, ids in _encode_usable(utterances, targets, skipped):
            if isinstance(utterance, StoredUtterance):
                add(_count_samples(utterance), ids, ClipPlace.of(utterance))
                forms.add_speech(utterance, None)
            else:
                write(quantise(utterance.audio), ids)
                forms.add_speech(utterance, utterance.audio)
        n_speech = len(ends) - 1
        for pcm, guess in non_speech.clips(n_speech, targets.n_pieces):
            write(pcm, targets.encode_silence(guess))
            forms.add_non_speech()
    if lake is not None and mix.timestamps_share:
        _measure_stored(StoredAudio.of(lake, places.to_arrays(), np.diff(ends)), forms)
    built = forms.finish()
    write_index(
        folder,
        places,
        n_speech=np.int64(n_speech),
        starts=np.array(ends, np.int64),
        labels=np.array(labels, np.int32),
        label_starts=np.array(label_ends, np.int64),
        skipped_reasons=np.array(list(skipped), np.str_),
        skipped_counts=np.array(list(skipped.values()), np.int64),
        n_classroom=np.int64(places.n_stored),
        **({} if built is None else built.to_arrays()),
    )


def _measure_stored(stored: StoredAudio, forms: TargetFormsWriter) -> None:
    """Find the bounds of speech in the clips of the lake, whose shards the training reads again."""
    n_clips = len(stored.n_samples)
    stored.fetch(n_clips, lambda _: None)
    for clip in filter(stored.has, range(n_clips)):
        forms.measure_speech(clip, dequantise(stored.read(clip)))


def write_index(folder: Path, places: PlaceWriter, **arrays: Any) -> None:
    """Write the index of clips with these arrays, which `open_clips` reads."""
    np.savez(folder / INDEX_FILE, **{**places.to_arrays(), **arrays})


def open_clips(folder: Path, lake: Lake | None = None) -> ClipStore:
    """Open the clips that `write_clips` wrote to `folder`, with those in `lake` if it is given."""
    samples = folder / SAMPLES_FILE
    with np.load(folder / INDEX_FILE, allow_pickle=False) as index:
        starts, reasons = index["starts"], index["skipped_reasons"].tolist()
        return ClipStore(
            samples=np.memmap(samples, "<i2", "r") if samples.stat().st_size else np.zeros(0, np.int16),
            n_speech=int(index["n_speech"]),
            starts=starts,
            labels=index["labels"],
            label_starts=index["label_starts"],
            skipped=dict(zip(reasons, index["skipped_counts"].tolist(), strict=True)),
            forms=TargetForms.of_arrays(index),
            n_classroom=int(index["n_classroom"]) if "n_classroom" in index else 0,  # of an earlier version
            stored=None if lake is None or "clip_places" not in index else StoredAudio.of(lake, index, np.diff(starts)),
        )


def select_sample(utterances: Iterable[_Segment], n_clips: int) -> Iterator[_Segment]:
    """Yield the `n_clips` utterances with the smallest hashes of their ids: a reproducible sample of all sessions."""
    yield from heapq.nsmallest(n_clips, utterances, key=lambda each: hashlib.sha256(each.segment_id.encode()).digest())


def select_session_share(utterances: Iterable[_Segment], share: float) -> Iterator[_Segment]:
    """Yield the utterances of about `share` of the sessions; a smaller share is a subset of a larger one."""
    for utterance in utterances:
        digest = hashlib.sha256(utterance.session_id.encode()).digest()
        if int.from_bytes(digest[:8], "big") < share * 2**64:
            yield utterance


def _count_samples(utterance: AnyUtterance) -> int:
    return len(utterance.audio) if isinstance(utterance, Utterance) else round(utterance.duration_s * SAMPLE_RATE)


def _encode_usable(
    utterances: Iterable[AnyUtterance], targets: TargetEncoder, skipped: Counter[str]
) -> Iterator[tuple[AnyUtterance, tuple[int, ...]]]:
    for utterance in utterances:
        n_samples = _count_samples(utterance)
        if not 0 < n_samples <= _MAX_CLIP_SAMPLES:
            skipped["clip above 30 s" if n_samples else "clip without samples"] += 1
            continue
        try:
            yield utterance, targets.encode(utterance.sentence)
        except UntrainableSentenceError as reason:
            skipped[str(reason)] += 1


class ClipSample(NamedTuple):
    """One use of a clip, as read."""

    clip: int
    audio: NDArray[np.float32]
    target: Target
    n_frames: int
    """Its window, mel frames."""
    masked: NDArray[np.bool_] | None
    """Its masked features, [mels, frames of the window]; None without SpecAugment."""


@dataclass(frozen=True)
class ClipLoader:
    """Dataset and collate function of a `DataLoader`; without augmenter and masker, it reads the clips as they are."""

    clips: ClipStore
    targets: TargetEncoder
    augmenter: Augmenter | None = None
    masker: FeatureMasker | None = None
    mix: TargetMix = PLAIN_MIX
    """Which uses have another form of target; validation has the usual one."""

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, use: ClipUse) -> ClipSample:
        """Return one use of a clip."""
        audio = self.clips.audio(use.clip) if self.augmenter is None else self.augmenter.read(use)
        n_clip_frames = math.ceil(len(audio) / FRAME_SAMPLES)
        masked = None if self.masker is None else self.masker.draw(use, n_clip_frames)
        return ClipSample(use.clip, audio, self._build_target(use), use.n_frames, masked)

    def collate(self, batch: Sequence[ClipSample]) -> dict[str, torch.Tensor]:
        """Return `audio` [clips, samples of the window], `labels` and `decoder_input_ids` [clips, longest], `clips` [clips].

        With SpecAugment, `masked` [clips, mels, frames of the window] too.
        """
        import torch

        padded = self.targets.pad([each.target.labels for each in batch], [each.target.prompt for each in batch])
        audio = np.zeros((len(batch), batch[0].n_frames * FRAME_SAMPLES), np.float32)
        for row, each in zip(audio, batch, strict=True):
            row[: len(each.audio)] = each.audio
        masks = [each.masked for each in batch if each.masked is not None]
        return {
            "clips": torch.tensor([each.clip for each in batch]),
            "audio": torch.from_numpy(audio),
            "labels": torch.from_numpy(padded.labels),
            "decoder_input_ids": torch.from_numpy(padded.decoder_input_ids),
            **({"masked": torch.from_numpy(np.stack(masks))} if masks else {}),
        }

    def _build_target(self, use: ClipUse) -> Target:
        speed = 1.0 if self.augmenter is None else self.augmenter.get_speed(use)
        return TargetBuilder(self.clips.forms, self.mix, self.targets, self.clips.label_ids).build(use, speed)


def build_training_loader(clips: ClipStore, targets: TargetEncoder, recipe: Recipe, n_mels: int) -> ClipLoader:
    """Return the loader of a run, with the augmentation and the SpecAugment of its recipe."""
    augmenter = masker = None
    if recipe.augmentation != Augmentation():
        augmenter = Augmenter(recipe.augmentation, recipe.seed, clips.durations_s, clips.n_speech, clips.audio)
    if recipe.spec_augment is not None:
        masker = FeatureMasker(recipe.spec_augment, recipe.seed, n_mels)
    return ClipLoader(clips, targets, augmenter, masker, TargetMix.of(recipe))
