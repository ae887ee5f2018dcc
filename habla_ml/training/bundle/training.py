"""The program of a bundle: train its stages, resume after a kill, and write the result."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from habla_ml.errors import HablaError
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.process import let_waiting_threads_sleep
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.bundle.manifest import (
    MANIFEST_FILE,
    RESULT_FILE,
    RESULT_FOLDER,
    BundleManifest,
    ResultManifest,
    check_files,
    digest_files,
    read_manifest,
)
from habla_ml.training.faults import explain_fault
from habla_ml.training.identity import RunIdentity
from habla_ml.training.run import RunFolder, finish_run, handle_foreign_runs, open_written_data
from habla_ml.training.train import lock_work_folder
from habla_ml.training.trainer import Progress

WORK_FOLDER: Final = "work"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the bundle in a folder; returns 0, 1 after an error that is reported, or 130 after an interrupt."""
    parser = argparse.ArgumentParser(prog="train.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(), help="the bundle; default: here")
    parser.add_argument("--cache-gb", type=float, default=200.0, help="most disk for decoded clips; default 200")
    parser.add_argument("--again", action="store_true", help="discard what another machine or environment began")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    let_waiting_threads_sleep()
    try:
        train_bundle(options.folder, round(options.cache_gb * 1e9), _print_progress, discard=options.again)
    except HablaError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr, flush=True)
        return 130
    except Exception as error:
        explained = explain_fault(error, options.folder)
        if explained is None:
            raise
        print(f"error: {explained[0]}", file=sys.stderr, flush=True)
        return 1
    return 0


def train_bundle(
    folder: Path, cache_bytes: int, progress: Callable[[Progress], None], *, discard: bool = False
) -> None:
    """Train every stage and write the folder `result`; an existing result is kept.

    Raises:
        TrainingError: A file is missing or damaged, or a training cannot go on.
    """
    manifest, digest = read_manifest(folder / MANIFEST_FILE, BundleManifest)
    if (folder / RESULT_FOLDER).exists():
        progress(Progress(f"{folder / RESULT_FOLDER} is complete; copy it back with {MANIFEST_FILE}"))
        return
    progress(Progress(f"checking {len(manifest.files)} files"))
    check_files(folder, manifest.files)
    base = WhisperBaseModel(folder / "base", manifest.base.name, manifest.base.revision, manifest.base.digest)
    work = folder / WORK_FOLDER
    lake = Lake(DirectoryStore(folder / "speech"), work / "cache", cache_bytes)
    start = folder / "start" if manifest.has_start else base.folder
    earlier: RunIdentity | None = None
    finished: dict[str, RunFolder] = {}
    with lock_work_folder(work):
        for stage in manifest.stages:
            identity = stage.identity.on_this_machine(stage.recipe, earlier)
            handle_foreign_runs(work, identity, discard=discard)
            run = RunFolder(work, identity)
            if not run.finished.exists():
                _place_clips(folder / "stages" / stage.name, run)
                data = open_written_data(run, stage.data, lake, stage.general_speech, "make the bundle again")
                finish_run(stage.recipe, identity, base, start, data, run, progress)
            finished[stage.name], earlier, start = run, identity, run.finished / "checkpoint"
        _write_result(folder, digest, finished)
    progress(Progress(f"trained {manifest.version}; copy {MANIFEST_FILE} and {RESULT_FOLDER} back"))


def _place_clips(stage: Path, run: RunFolder) -> None:
    """Copy the indices of a stage's clips to its run, which opens them."""
    for name, target in (("train", run.clips), ("validation", run.validation), ("guards", run.guards)):
        source = stage / name
        if source.exists() and not target.exists():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial)
            partial.rename(target)


def _write_result(folder: Path, bundle: str, finished: dict[str, RunFolder]) -> None:
    draft = folder / f"{RESULT_FOLDER}.partial"
    shutil.rmtree(draft, ignore_errors=True)
    for name, run in finished.items():
        shutil.copytree(run.finished, draft / name)
    result = ResultManifest(bundle=bundle, files=digest_files(draft))
    (draft / RESULT_FILE).write_text(result.model_dump_json(indent=2), "utf-8")
    draft.rename(folder / RESULT_FOLDER)


def _print_progress(progress: Progress) -> None:
    print(progress.message, flush=True)
