"""Recall and false positives of the fingerprint for near-duplicate audio, on the demo's voices.

A copy is the clip after a codec (Opus, MP3, AAC at 24 to 64 kbit/s), a gain of ±6 dB, a shift of 100 ms, resampling,
or several of these. Not a copy is another take of the same sentence by the same voice (slightly faster and higher,
other echo), and every other sentence. There is no peer: the script measures the bound `MAX_BIT_ERRORS`. It
returns non-zero where more than 1 % of the copies are missed, or more than one pair in ten thousand is a false positive.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from habla_ml.audio.audio_decoder import AudioDecoder
from habla_ml.audio.fingerprint import fingerprint
from habla_ml.corpus.fingerprint_index import MAX_BIT_ERRORS, FingerprintIndex, FingerprintSet
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
BOUNDS = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35)


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


def make_copies(clip: Samples, decoder: AudioDecoder) -> Iterator[tuple[str, Samples]]:
    """Yield every kind of copy of one clip."""
    for codec, kbits in product(CODECS, KBITS):
        yield f"{codec} {kbits} kbit/s", transcode(codec, kbits, clip, decoder)
    for gain_db in (-6, 6):
        yield f"gain {gain_db:+d} dB", round_to_int16(clip * np.float32(10 ** (gain_db / 20)))
    offset = SAMPLE_RATE_HZ // 10
    yield "100 ms shorter", clip[offset:]
    yield "100 ms later", np.pad(clip, (offset, 0))
    for rate_hz in (8_000, 11_025, 44_100):
        there = soxr.resample(clip, SAMPLE_RATE_HZ, rate_hz)
        yield f"at {rate_hz} Hz and back", round_to_int16(soxr.resample(there, rate_hz, SAMPLE_RATE_HZ))
    worst = round_to_int16(clip[offset + 57 :] * np.float32(0.5))
    for codec in CODECS:
        yield f"{codec} 24 kbit/s, -6 dB, 103.6 ms shorter", transcode(codec, 24, worst, decoder)


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


def main() -> int:
    """Print recall by kind of copy and false positives by bound; return non-zero for a poor bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=210)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    sentences = list(synthesize_takes(make_andalusian_classroom(7), chosen.sentences, chosen.seed))
    index = FingerprintIndex(FingerprintSet.of((str(n), fingerprint(each.clip)) for n, each in enumerate(sentences)))
    found: dict[str, list[float]] = {}
    strangers: list[float] = []
    started = time.perf_counter()
    with AudioDecoder() as decoder:
        for number, each in enumerate(sentences):
            for kind, samples in make_copies(each.clip, decoder):
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
    print(f"{'recall at':44}" + "".join(f"{bound:8.2f}" for bound in BOUNDS) + "   median  worst found")
    for kind, errors in found.items():
        reached = [error for error in errors if error < 1]
        print(
            f"{kind:44}"
            + "".join(f"{recall_within(errors, bound):8.3f}" for bound in BOUNDS)
            + f"   {np.median(errors):6.3f}  {max(reached, default=1):6.3f}"
        )
    every = [error for errors in found.values() for error in errors]
    print(f"{'all copies':44}" + "".join(f"{recall_within(every, bound):8.3f}" for bound in BOUNDS))
    n_copies, n_retakes = len(every), sum(len(each.retakes) for each in sentences)
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


def recall_within(errors: list[float], bound: float) -> float:
    """Return the share of copies within a bound."""
    return sum(error <= bound for error in errors) / len(errors)


if __name__ == "__main__":
    sys.exit(main())
