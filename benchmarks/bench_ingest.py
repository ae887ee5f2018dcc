"""Ingest of three-second WAVs against `datasets.map` that does the same work on one core.

Both decode, measure, hash and encode each clip as FLAC, and write parquet. The peer is written as a user of `datasets`
would write it, with soundfile, numpy and hashlib, and none of our functions. A third way, for comparison only, copies
the bytes of the files (`Dataset.from_dict` + `cast_column(Audio)` + `save_to_disk`).

Every way runs in turn in its own process on the same core with one thread, over files in the page cache. Imports do
not count. Seconds are user and system time of the process and its children, and wall time, which includes waiting for
the disk. The ratio is the median over the repeats with the lowest and the highest.

The floor is the time of reading, hashing and encoding alone: no ingest that uses libsndfile can be faster, so the ratio
stays below that of the peer to the floor, which is about 2. Other encoders do not lower it. libFLAC's levels 3 to 5
take the same time, levels 0 to 2 take 14 % less but store 3.6 % more of the demo's speech, and FFmpeg's encoder takes
2.5 times as long. Most of the rest of libFLAC is the MD5 of the samples and Rice coding.

Exits with 1 if the median of CPU time is below `MIN_RATIO`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from habla_ml.audio import SAMPLE_RATE
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import load_settings

CLIP_S = 3.0
MIN_RATIO = 1.0
CLIPS_A_SESSION, SESSIONS_A_DAY = 300, 5


def synthesize_voiced_sound(random: np.random.Generator) -> NDArray[np.float32]:
    """Synthesise overtones of one pitch with a varying level, shape [samples of a clip]."""
    at = np.arange(round(CLIP_S * SAMPLE_RATE)) / SAMPLE_RATE
    pitch, swell = random.uniform(90, 250), np.abs(np.sin(2 * np.pi * random.uniform(1, 3) * at)) ** 2
    overtones = np.sum([np.sin(2 * np.pi * pitch * number * at) / number for number in range(1, 10)], axis=0)
    sound: NDArray[np.float32] = (0.06 * overtones * swell).astype(np.float32)
    return sound


def write_tree(root: Path, clips: int) -> None:
    """Write clips of voiced sound with a little noise; FLAC takes 60 % of their size."""
    random = np.random.default_rng(0)
    voices = [synthesize_voiced_sound(random) for _ in range(32)]
    for clip in range(clips):
        session, number = divmod(clip, CLIPS_A_SESSION)
        day = date(2026, 1, 5) + timedelta(days=session // SESSIONS_A_DAY)
        folder = root / f"{session:05d}_{day:%Y%m%d}_{9 + session % SESSIONS_A_DAY:02d}0000"
        folder.mkdir(exist_ok=True)
        samples = voices[clip % len(voices)] + 0.002 * random.standard_normal(len(voices[0]), np.float32)
        soundfile.write(folder / f"segment_{number + 1:03d}.wav", samples, SAMPLE_RATE)
        (folder / "metadata.json").write_text('{"segments": []}')


def ours(recordings: Path, root: Path) -> int:
    """Ingest every day of the tree, as the runs of the sensor do."""
    project = Path(__file__).resolve().parent.parent
    profile = root / "configs" / "bench.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(
        f"work_folder: work\nlake: {{url: lake}}\nrecordings: {{folder: {recordings}}}\n"
        f"corpus: {{conventions: {project}/configs/conventions/orthographic-v1.yaml}}\n"
        f"training: {{recipe: {project}/configs/recipes/demo-full.yaml}}\nrelease: {{store: {{url: cdn}}}}\n"
    )
    settings, lake, now = (
        load_settings(profile, {}),
        Lake(DirectoryStore(root / "lake"), root / "c"),
        datetime.now(UTC),
    )
    days = [each.day for each in find_changed_days(recordings, lake, settings, now)]
    return sum(ingest_day(recordings, day, lake, settings, now).segments for day in days)


def ingest_with_datasets_map(recordings: Path, root: Path) -> int:
    """Do the same work with `datasets.map` and `to_parquet`."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    files = list_files(recordings)
    dataset = Dataset.from_dict({"path": files, "sentence": [""] * len(files)})
    rows = dataset.map(make_row, cache_file_name=str(root / "map.arrow"))
    (root / "dataset").mkdir()
    rows.to_parquet(root / "dataset" / "rows.parquet")
    return len(files)


def make_row(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the lake for one file."""
    pcm, _ = soundfile.read(entry["path"], dtype="int16")
    loud = pcm.astype(np.float32) / 32_768
    peak = np.abs(loud).max()
    return {
        "audio": encode(pcm),
        "audio_sha256": hashlib.sha256(pcm).hexdigest(),
        "duration_s": len(pcm) / SAMPLE_RATE,
        "loudness_dbfs": to_dbfs(np.sqrt(np.mean(loud * loud))),
        "peak_dbfs": to_dbfs(peak),
        "clipped_share": np.count_nonzero(np.abs(loud) >= 32_767 / 32_768) / len(pcm),
    }


def to_dbfs(amplitude: float) -> float:
    """Return a level in dB."""
    return float(20 * np.log10(max(amplitude, 1e-6)))


def encode(pcm: NDArray[np.int16]) -> bytes:
    """Return a FLAC file."""
    out = io.BytesIO()
    soundfile.write(out, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def copy_bytes(recordings: Path, root: Path) -> int:
    """Copy the files into a dataset, as the plan proposed."""
    from datasets import Audio, Dataset, disable_progress_bars

    disable_progress_bars()
    files = list_files(recordings)
    dataset = Dataset.from_dict({"audio": files, "sentence": [""] * len(files)})
    dataset.cast_column("audio", Audio(sampling_rate=SAMPLE_RATE)).save_to_disk(str(root / "dataset"))
    return len(files)


def run_floor(recordings: Path, _: Path) -> int:
    """Read each file, hash its samples, and encode them; keep nothing."""
    files = list_files(recordings)
    for file in files:
        pcm = np.frombuffer(Path(file).read_bytes(), np.int16, offset=44)
        hashlib.sha256(pcm.data).hexdigest()
        encode(pcm)
    return len(files)


def list_files(recordings: Path) -> list[str]:
    """Return the paths of all clips, sorted."""
    return sorted(str(each) for each in recordings.glob("*/*.wav"))


METHODS: dict[str, Callable[[Path, Path], int]] = {
    "ours": ours,
    "datasets.map": ingest_with_datasets_map,
    "floor": run_floor,
    "byte copy": copy_bytes,
}


def measure_subprocess(way: str, recordings: Path, root: Path) -> dict[str, float]:
    """Run one way in a fresh process on one core, and read what it took."""
    root.mkdir(parents=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, str(recordings), str(root)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(root / "cache")},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(clips: int, repeats: int, scratch: Path) -> bool:
    """Print all ways over a tree of `clips` clips; return whether the bound holds."""
    recordings = scratch / "recordings"
    recordings.mkdir()
    write_tree(recordings, clips)
    print(f"{clips} clips of {CLIP_S:g} s, {repeats} repeats", flush=True)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in METHODS}
    for repeat in range(repeats):
        for way in METHODS:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                found[way].append(measure_subprocess(way, recordings, Path(folder) / f"{way}-{repeat}"))
    for way, runs in found.items():
        texts = []
        for key in ("cpu_s", "wall_s"):
            ratios = [each[key] / our[key] for each, our in zip(runs, found["ours"], strict=True)]
            microseconds = statistics.median(each[key] for each in runs) / clips * 1e6
            spread = f"{statistics.median(ratios):4.2f} ({min(ratios):.2f}…{max(ratios):.2f})"
            texts.append(f"{key[:-2]:4} {microseconds:6.0f} µs a clip, {spread} × ours")
        memory = f"{runs[0]['peak_mib']:.0f} MiB of memory, {runs[0]['stored_mib']:.0f} MiB stored"
        print(f"{way:12}  {'   '.join(texts)}   {memory}", flush=True)
    pairs = zip(found["datasets.map"], found["ours"], strict=True)
    return statistics.median(peer["cpu_s"] / our["cpu_s"] for peer, our in pairs) >= MIN_RATIO


def main() -> int:
    """Print ours and the peers for each number of clips; return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=int, nargs="*", default=[2_000])
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    missed = 0
    for clips in chosen.clips:
        with tempfile.TemporaryDirectory() as scratch:
            missed |= not report(clips, chosen.repeats, Path(scratch))
    return missed


def run_measured(way: str, recordings: Path, root: Path) -> None:
    """Run one way and print what it took; imports do not count, memory does."""
    import pandas  # noqa: F401 - pyarrow imports it at the first list of Python objects
    import pyarrow

    if way != "ours":
        import datasets  # noqa: F401
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cpu_s, wall_s = read_cpu_seconds(), time.perf_counter()
    METHODS[way](recordings, root)
    cpu_s, wall_s = read_cpu_seconds() - cpu_s, time.perf_counter() - wall_s
    stored = sum(each.stat().st_size for folder in ("lake", "dataset") for each in (root / folder).rglob("*"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"cpu_s": cpu_s, "wall_s": wall_s, "peak_mib": peak / 2**20, "stored_mib": stored / 2**20}))


def read_cpu_seconds() -> float:
    """Return user and system time of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        run_measured(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        sys.exit(main())
