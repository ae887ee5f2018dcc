"""Recall, false positives, speed and memory of the search for near-duplicate audio, on the demo's voices.

A copy is the clip after a codec (Opus, MP3, AAC at 24 to 64 kbit/s), a gain of −20 to +10 dB, one changed sample, a cut
or shift of 0.1 to 0.3 s, resampling, noise 20 dB below it, or several of these. Cuts to 0.6 to 1 s and clipping by
+20 dB are counted apart.
Not a copy is another take of the same sentence by the same voice (slightly faster and higher, other echo), and every
other sentence. Speed and memory are those of one core, with synthetic held-out clips: fingerprints of the voices with
a quarter of their bits flipped. There is no peer.

The script returns non-zero where more than 1 % of the copies of whole clips are missed, or more than one pair in ten
thousand is a false positive.
"""

from __future__ import annotations

import argparse
import io
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from habla_ml.audio import decode_flac, encode_flac
from habla_ml.audio.audio_decoder import AudioDecoder
from habla_ml.audio.fingerprint import fingerprint
from habla_ml.corpus.fingerprint_index import MAX_BIT_ERRORS, FingerprintIndex, FingerprintSet, find_near_duplicates
from habla_ml.demo.acoustics import simulate_recording
from habla_ml.demo.grammar import generate_sentence
from habla_ml.demo.phonology import apply_dialect
from habla_ml.demo.speech_synthesis import SAMPLE_RATE_HZ, synthesize_speech, text_to_phonemes
from habla_ml.demo.synthetic_speakers import (
    NORMAL_DBFS,
    QUIET_DBFS,
    SyntheticClassroom,
    SyntheticSpeaker,
    make_andalusian_classroom,
)

Samples = NDArray[np.float32]
CODECS = {"opus": ("ogg", "libopus"), "mp3": ("mp3", "libmp3lame"), "aac": ("ipod", "aac")}
KBITS = (24, 32, 48, 64)
WORDS_A_CLIP = 85
"""Of 3 s."""
BOUNDS = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35)
SHORT = "only"
CLIPPED = "gain +20 dB, clipped"
SHORT_S = (0.6, 0.8, 1.0)


@dataclass(frozen=True)
class SentenceTakes:
    """One sentence of one voice, with further takes."""

    text: str
    speaker: SyntheticSpeaker
    clip: Samples
    retakes: tuple[Samples, ...]


def synthesize_takes(classroom: SyntheticClassroom, sentences: int, seed: int) -> Iterator[SentenceTakes]:
    """Synthesise sentences of each person in turn, every third one quiet, with slightly different retakes."""
    rng = np.random.default_rng(seed)
    people = (classroom.teacher, *classroom.students)
    for number in range(sentences):
        speaker = people[number % len(people)]
        text = generate_sentence(speaker.register, rng)
        loud = QUIET_DBFS if number % 3 == 0 else NORMAL_DBFS
        voices = [speaker.voice]
        for faster, higher in ((1.04, 2), (0.93, -4)):
            rate_wpm = round(speaker.voice.rate_wpm * faster)
            voices.append(replace(speaker.voice, rate_wpm=rate_wpm, pitch=speaker.voice.pitch + higher))
        takes = []
        for voice in voices:
            dry = synthesize_speech(
                apply_dialect(text_to_phonemes(text), speaker.dialect, rng), voice, question="?" in text
            )
            takes.append(
                simulate_recording(dry, float(rng.normal(loud, 2)), classroom.room, rng).astype(np.float32) / 32768
            )
        yield SentenceTakes(text, speaker, takes[0], tuple(takes[1:]))


def make_copies(clip: Samples, decoder: AudioDecoder, rng: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Yield every kind of copy of one clip."""
    for codec, kbits in product(CODECS, KBITS):
        yield f"{codec} {kbits} kbit/s", transcode(codec, kbits, clip, decoder)
    for gain_db in (-20, -10, -6, -3, -1, 1, 3, 6, 10, 20):
        name = CLIPPED if gain_db == 20 else f"gain {gain_db:+d} dB"
        yield name, round_to_int16(clip * np.float32(10 ** (gain_db / 20)))
    changed = clip.copy()
    changed[len(clip) // 2] += 1 / 32768
    yield "one sample changed", changed
    for cut_s in (0.1, 0.2, 0.3):
        samples = round(cut_s * SAMPLE_RATE_HZ)
        yield f"{cut_s} s cut at the start", clip[samples:]
        yield f"{cut_s} s cut at the end", clip[:-samples]
        yield f"{cut_s} s later", np.pad(clip, (samples, 0))
    for rate_hz in (8_000, 11_025, 44_100):
        there = soxr.resample(clip, SAMPLE_RATE_HZ, rate_hz)
        yield f"at {rate_hz} Hz and back", round_to_int16(soxr.resample(there, rate_hz, SAMPLE_RATE_HZ))
    level = np.sqrt(np.mean(clip**2))
    yield "noise at 20 dB", round_to_int16(clip + rng.normal(0, level / 10, len(clip)).astype(np.float32))
    offset = SAMPLE_RATE_HZ // 10
    worst = round_to_int16(clip[offset + 57 :] * np.float32(0.5))
    for codec in CODECS:
        yield f"{codec} 24 kbit/s, -6 dB, 103.6 ms shorter", transcode(codec, 24, worst, decoder)
    for length_s in SHORT_S:
        middle = (len(clip) - round(length_s * SAMPLE_RATE_HZ)) // 2
        piece = clip[max(0, middle) : max(0, middle) + round(length_s * SAMPLE_RATE_HZ)]
        yield f"{SHORT} {length_s} s, -6 dB", round_to_int16(piece * np.float32(0.5))
        yield f"{SHORT} {length_s} s, opus 24 kbit/s", transcode("opus", 24, piece, decoder)


def round_to_int16(samples: Samples) -> Samples:
    """Round to 16-bit samples and clip."""
    return (np.rint(np.clip(samples, -1, 32767 / 32768) * 32768) / 32768).astype(np.float32)


def transcode(codec: str, kbits: int, clip: Samples, decoder: AudioDecoder) -> Samples:
    """Encode a clip with FFmpeg and decode it as a foreign file."""
    out = io.BytesIO()
    muxer, name = CODECS[codec]
    with av.open(out, "w", format=muxer) as container:
        stream = container.add_stream(name, rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = 1000 * kbits
        pcm = np.rint(np.clip(clip, -1, 32767 / 32768) * 32768).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return decoder.decode(out.getvalue(), 60).astype(np.float32) / 32768


def measure_speed(clips: list[Samples], held_out: int, streamed: int) -> None:
    """Print clips per second of processor time, and the peak memory of the comparison."""
    fingerprint(clips[0])  # imports scipy
    started = time.process_time()
    words = np.concatenate([fingerprint(each) for each in clips])
    seconds = sum(map(len, clips)) / SAMPLE_RATE_HZ
    took = time.process_time() - started
    flac = [encode_flac(each) for each in clips]
    started = time.process_time()
    for each in flac:
        decode_flac(each)
    decoding = time.process_time() - started
    print(f"fingerprints: {len(clips) / took:.0f} clips/s of {seconds / len(clips):.1f} s", end="; ")
    print(f"decoding their FLAC: {len(clips) / decoding:.0f} clips/s")
    rng = np.random.default_rng(1)
    indexed = make_synthetic(words, held_out, rng)
    parts = [make_synthetic(words, 2_000, rng) for _ in range(streamed // 2_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    found = sum(1 for _ in find_near_duplicates([indexed], parts))
    took = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"comparison: {streamed} clips with {held_out} held-out clips of {WORDS_A_CLIP} words in {took:.1f} s, "
        f"{streamed / took:.0f} clips/s, {found} found, peak memory +{grown:.0f} MiB"
    )


def make_synthetic(words: NDArray[np.uint32], clips: int, rng: np.random.Generator) -> FingerprintSet:
    """Return fingerprints from random places of `words`, with a quarter of the bits flipped for 8 words at a time."""
    first = rng.integers(len(words) - WORDS_A_CLIP, size=clips)
    chosen = words[first[:, None] + np.arange(WORDS_A_CLIP)]
    runs = -(-WORDS_A_CLIP // 8)
    flips = rng.integers(1 << 32, size=(clips, runs), dtype=np.uint32)
    flips &= rng.integers(1 << 32, size=(clips, runs), dtype=np.uint32)
    chosen ^= np.repeat(flips, 8, axis=1)[:, :WORDS_A_CLIP]
    names = tuple(f"{clips}-{number}" for number in range(clips))
    return FingerprintSet(names, chosen.ravel(), np.arange(clips + 1, dtype=np.int64) * WORDS_A_CLIP)


def main() -> int:
    """Print recall by kind of copy and false positives by bound; return non-zero for a poor bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=210)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-out", type=int, default=100_000, help="synthetic held-out clips")
    parser.add_argument("--streamed", type=int, default=20_000, help="synthetic clips to compare with them")
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    sentences = list(synthesize_takes(make_andalusian_classroom(7), chosen.sentences, chosen.seed))
    measure_speed([each.clip for each in sentences], chosen.held_out, chosen.streamed)
    index = FingerprintIndex(FingerprintSet.of((str(n), fingerprint(each.clip)) for n, each in enumerate(sentences)))
    found: dict[str, list[float]] = {}
    strangers: list[float] = []
    started = time.perf_counter()
    with AudioDecoder() as decoder:
        for number, each in enumerate(sentences):
            for kind, samples in make_copies(each.clip, decoder, rng):
                pairs = index.compare(FingerprintSet.of([(kind, fingerprint(samples))]))
                by_clip = {pair.indexed: pair.bit_errors for pair in pairs}
                found.setdefault(kind, []).append(by_clip.pop(str(number), 1.0))
                strangers += by_clip.values()
    retakes: list[float] = []
    others: list[float] = []
    for each in sentences:
        for retake in each.retakes:
            for pair in index.compare(FingerprintSet.of([("retake", fingerprint(retake))])):
                (retakes if sentences[int(pair.indexed)].text == each.text else others).append(pair.bit_errors)
    print(
        f"{len(sentences)} clips, {sum(len(each.clip) for each in sentences) / SAMPLE_RATE_HZ / 60:.1f} min of speech, "
        f"{sum(map(len, found.values()))} copies, {time.perf_counter() - started:.0f} s"
    )
    every = print_recall(found)
    n_copies, n_retakes = sum(map(len, found.values())), sum(len(each.retakes) for each in sentences)
    counted = {
        f"false positives among retakes, of {n_retakes}": retakes,
        f"others by retakes, of {n_retakes * (len(sentences) - 1)}": others,
        f"others by copies, of {n_copies * (len(sentences) - 1)}": strangers,
    }
    for kind, errors in counted.items():
        print(
            f"{kind:44}"
            + "".join(f"{sum(e <= bound for e in errors):8d}" for bound in BOUNDS)
            + f"   nearest {min(errors, default=1):.3f}"
        )
    wrong = sum(error <= MAX_BIT_ERRORS for error in (*retakes, *others, *strangers))
    missed = 1 - recall_within(every, MAX_BIT_ERRORS)
    print(f"at the bound of {MAX_BIT_ERRORS}: {missed:.2%} of the copies missed, {wrong} false positives")
    return int(missed > 0.01 or wrong > 1e-4 * (n_copies + n_retakes) * len(sentences))


def print_recall(found: dict[str, list[float]]) -> list[float]:
    """Print the recall of each kind of copy by bound; return the bit errors of all copies that the bound is for."""
    claimed = [kind for kind in found if kind != CLIPPED and not kind.startswith(SHORT)]
    every = [error for kind in claimed for error in found[kind]]
    print(f"{'recall at':44}" + "".join(f"{bound:8.2f}" for bound in BOUNDS) + "   median  worst found")
    for kind, errors in {**found, "all copies of whole clips, not clipped": every}.items():
        reached = [error for error in errors if error < 1]
        print(
            f"{kind:44}"
            + "".join(f"{recall_within(errors, bound):8.3f}" for bound in BOUNDS)
            + f"   {np.median(errors):6.3f}  {max(reached, default=1):6.3f}"
        )
    return every


def recall_within(errors: list[float], bound: float) -> float:
    """Return the share of copies within a bound."""
    return sum(error <= bound for error in errors) / len(errors)


if __name__ == "__main__":
    sys.exit(main())
