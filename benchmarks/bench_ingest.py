"""Ingest of three-second WAVs against `Dataset.from_dict` + `cast_column(Audio)` + `save_to_disk`.

That script copies the bytes of the files without decoding. Ours decodes, measures, hashes and encodes each clip as
FLAC. A second peer does the same work in `datasets.map`. Each runs in its own process. Seconds are CPU seconds, so the
ratio is per core; memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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

from habla_ml.audio import SAMPLE_RATE, decode_wav, encode_flac, measure, pcm_sha256
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import load_settings

CLIP_S = 3.0
CLIPS_A_SESSION, SESSIONS_A_DAY = 300, 5


def synthesize_voiced_sound(random: np.random.Generator) -> NDArray[np.float32]:
    """Synthesise overtones of one pitch with a varying level, shape [samples of a clip]."""
    at = np.arange(round(CLIP_S * SAMPLE_RATE)) / SAMPLE_RATE
    pitch, swell = random.uniform(90, 250), np.abs(np.sin(2 * np.pi * random.uniform(1, 3) * at)) ** 2
    overtones = np.sum([np.sin(2 * np.pi * pitch * number * at) / number for number in range(1, 10)], axis=0)
    return (0.06 * overtones * swell).astype(np.float32)


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


def plan(recordings: Path, root: Path) -> int:
    """Run the script with `datasets`."""
    from datasets import Audio, Dataset, disable_progress_bars

    disable_progress_bars()
    files = sorted(str(each) for each in recordings.glob("*/*.wav"))
    dataset = Dataset.from_dict({"audio": files, "sentence": [""] * len(files)})
    dataset.cast_column("audio", Audio(sampling_rate=SAMPLE_RATE)).save_to_disk(str(root / "dataset"))
    return len(files)


def ingest_with_datasets_map(recordings: Path, root: Path) -> int:
    """Run `datasets.map` with the columns of the lake: FLAC bytes, sha256 of the audio, measurements."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    files = sorted(str(each) for each in recordings.glob("*/*.wav"))

    def row(entry: dict[str, Any]) -> dict[str, Any]:
        pcm = decode_wav(Path(entry["path"]).read_bytes(), 30.0)
        found = measure(pcm)
        return {
            "audio": encode_flac(pcm),
            "audio_sha256": pcm_sha256(pcm),
            "duration_s": found.duration_s,
            "loudness_dbfs": found.loudness_dbfs,
            "peak_dbfs": found.peak_dbfs,
            "clipped_share": found.clipped_share,
        }

    dataset = Dataset.from_dict({"path": files, "sentence": [""] * len(files)})
    dataset.map(row, cache_file_name=str(root / "map.arrow")).save_to_disk(str(root / "dataset"))
    return len(files)


METHODS: dict[str, Callable[[Path, Path], int]] = {
    "ours": ours,
    "plan": plan,
    "same-work": ingest_with_datasets_map,
}


def measure_subprocess(way: str, recordings: Path, root: Path) -> dict[str, float]:
    """Run one way in a fresh process, one thread, and read what it took."""
    root.mkdir()
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, str(recordings), str(root)],
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(root / "cache"),
        },
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(clips: int, scratch: Path) -> None:
    """Print the three ways over a tree of `clips` clips."""
    recordings = scratch / "recordings"
    recordings.mkdir()
    write_tree(recordings, clips)
    print(f"{clips} clips of {CLIP_S:g} s", flush=True)
    found = {way: measure_subprocess(way, recordings, scratch / way) for way in METHODS}
    for way, each in found.items():
        ratio = each["cpu_s"] / found["ours"]["cpu_s"]
        print(
            f"{way:10}  {clips / each['cpu_s']:7.0f} clips/s of one core   peak {each['peak_mib']:5.0f} MiB   "
            f"{each['stored_mib']:6.0f} MiB stored   ours is {ratio:.2f} times as fast",
            flush=True,
        )


def main() -> None:
    """Print ours and the peers for each number of clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=int, nargs="*", default=[2_000])
    for clips in parser.parse_args().clips:
        with tempfile.TemporaryDirectory() as scratch:
            report(clips, Path(scratch))


def run_measured(way: str, recordings: Path, root: Path) -> None:
    """What a measured process does: imports do not count, memory does."""
    if way != "ours":
        import datasets  # noqa: F401
    before = time.process_time()
    METHODS[way](recordings, root)
    stored = sum(each.stat().st_size for folder in ("lake", "dataset") for each in (root / folder).rglob("*"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    took = time.process_time() - before
    print(json.dumps({"cpu_s": took, "peak_mib": peak * unit / 2**20, "stored_mib": stored / 2**20}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        run_measured(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
