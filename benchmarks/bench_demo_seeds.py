"""Is the demo's v2 better than its v1, with any seed? Both on the newest test set, as served.

The two phases of the demo are recorded once. Each seed trains v1 on the first and v2 on both, by the demo's recipe.
The bounds are for every seed: v1 makes 30 % fewer errors than the base, v2 15 % fewer than v1 and is better in 80 % of
the bootstrap draws over sessions, and general Spanish loses at most two points.

    python benchmarks/bench_demo_seeds.py --seeds 5
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import read_general_speech
from habla_ml.corpus.snapshot import Snapshot, Utterance, read_utterances
from habla_ml.corpus.splits import make_snapshot
from habla_ml.demo.lessons import PEOPLE_SEED, write_first_phase, write_second_phase
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml.export.exporter import ExportOptions
from habla_ml.export.publish import SourceCheckpoint, checkout_artefact, publish_export
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import Settings, load_settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.extra_speech import read_extra_speech
from habla_ml.training.recipe import load_recipe
from habla_ml.training.record import TrainingRecord
from habla_ml.training.train import train_version
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.hypothesis_cache import transcribe_cached
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions

ROOT = Path(__file__).resolve().parent.parent
DRAWS = 10_000
_AS_SERVED = DecodingOptions()
FEWER_THAN_BASE, FEWER_THAN_V1, BETTER_WITH, GENERAL_LOSS = 0.30, 0.15, 0.8, 0.02


@dataclass(frozen=True)
class SetErrors:
    """Errors and words of a model, [clips] each."""

    errors: np.ndarray
    words: np.ndarray

    @property
    def rate(self) -> float:
        """Word error rate, 0 to 1 and above."""
        return float(self.errors.sum() / self.words.sum())


@dataclass(frozen=True)
class DemoExperiment:
    """The demo's corpus after both phases, without Dagster."""

    lake: Lake
    settings: Settings
    first: Snapshot
    newest: Snapshot
    test: tuple[Utterance, ...]
    general: tuple[Utterance, ...]

    def train(self, version: str, seed: int) -> TrainingRecord:
        """Train the demo's recipe with a seed on the snapshot of a version."""
        snapshot = self.first if version == "v1" else self.newest
        recipe = load_recipe(self.settings.training.recipe)
        recipe = recipe.model_copy(update={"seed": recipe.seed + seed})
        speech = read_extra_speech(self.lake, snapshot, recipe, self.settings)
        folder = self.settings.work_folder / "training"
        return train_version(self.lake, snapshot, recipe, f"{version}-{seed}", folder, lambda _: None, speech)

    def score(self, owner: str, identity: str, checkpoint: Path) -> tuple[SetErrors, SetErrors]:
        """Convert a checkpoint; return its errors on the test set and on general Spanish."""
        decoded = self.decode(owner, identity, checkpoint, [*self.test, *self.general])
        texts = [each.text for each in decoded]
        return _count_errors(self.test, texts[: len(self.test)]), _count_errors(self.general, texts[len(self.test) :])

    def decode(
        self,
        owner: str,
        identity: str,
        checkpoint: Path,
        clips: Sequence[Clip],
        options: DecodingOptions = _AS_SERVED,
    ) -> list[Hypothesis]:
        """Convert a checkpoint and decode clips with it, by default as served."""
        work, source = self.settings.work_folder, SourceCheckpoint(identity, lambda: checkpoint)
        name = f"models/{owner}/ctranslate2"
        exported = publish_export(self.lake, name, CTRANSLATE2, source, ExportOptions("int8"), work, lambda _: None)
        tree = exported.artefact
        with closing(open_transcriber(options, checkout_artefact(self.lake, tree, work))) as transcriber:
            return transcribe_cached(self.lake, tree, transcriber, clips)

    def draw_probability_of_better(self, ours: SetErrors, peer: SetErrors) -> float:
        """Return the share of bootstrap draws over sessions in which `ours` has fewer errors."""
        names, unit = np.unique([each.session_id for each in self.test], return_inverse=True)
        difference = np.bincount(unit, ours.errors - peer.errors)
        draws = np.random.default_rng(1).integers(0, len(names), (DRAWS, len(names)))
        return float((difference[draws].sum(axis=1) < 0).mean())


def _count_errors(utterances: Sequence[Utterance], texts: list[str]) -> SetErrors:
    scores = score_utterances([each.sentence for each in utterances], texts, normalise_spanish)
    errors, words = zip(*((each.words.errors, each.words.reference_words) for each in scores), strict=True)
    return SetErrors(np.array(errors), np.array(words))


def make_experiment(folder: Path, people_seed: int) -> DemoExperiment:
    """Record both phases below `folder` and publish the snapshot of each."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    root = folder / "var" / "demo"
    write_first_phase(root, people_seed)
    settings = load_settings(folder / "configs" / "demo.yaml", {})
    lake = Lake(DirectoryStore(folder / "lake"), folder / "cache")
    first = _publish_snapshot(lake, settings)
    write_second_phase(root, people_seed)
    return load_experiment(lake, settings, first, _publish_snapshot(lake, settings))


def load_experiment(lake: Lake, settings: Settings, first: Snapshot, newest: Snapshot) -> DemoExperiment:
    """Read the speech on which the versions of recorded phases are compared."""
    conventions, longest_s = load_conventions(settings.corpus.conventions), settings.recordings.longest_segment_s
    general = read_general_speech(
        settings.evaluation.out_of_domain, conventions, longest_s, settings.work_folder, frozenset()
    )
    test = tuple(replace(each, audio=each.audio.copy()) for each in read_utterances(lake, newest, "test"))
    return DemoExperiment(lake, settings, first, newest, test, general.utterances)


def _publish_snapshot(lake: Lake, settings: Settings) -> Snapshot:
    conventions, now = load_conventions(settings.corpus.conventions), datetime.now(UTC)
    folder = settings.recordings.folder
    for day in sorted({f"{each.name[-15:-11]}-{each.name[-11:-9]}-{each.name[-9:-7]}" for each in folder.iterdir()}):
        ingest_day(folder, day, lake, settings, now)
        collect_events(lake, day, settings, now)
        build_day(lake, day, conventions, settings)
    return make_snapshot(lake, settings, conventions)


def run_seed(experiment: DemoExperiment, seed: int, base: tuple[SetErrors, SetErrors], general_base: float) -> bool:
    """Train and score both versions with a seed and print a row; return whether they are within the bounds."""
    scores, columns = {"base": base}, []
    for version in ("v1", "v2"):
        record = experiment.train(version, seed)
        folder = checkout_artefact(experiment.lake, record.tree, experiment.settings.work_folder)
        scores[version] = experiment.score(f"{version}-{seed}", record.tree, folder)
        columns.append(f"{record.steps:5d} {record.wall_s:5.0f}")
    (v1, general_v1), (v2, general_v2) = scores["v1"], scores["v2"]
    fewer_v1, fewer_v2 = 1 - v1.rate / base[0].rate, 1 - v2.rate / v1.rate
    better = experiment.draw_probability_of_better(v2, v1)
    good = (
        fewer_v1 > FEWER_THAN_BASE
        and fewer_v2 >= FEWER_THAN_V1
        and better >= BETTER_WITH
        and max(general_v1.rate, general_v2.rate) <= general_base + GENERAL_LOSS
    )
    print(
        f"{seed:4d} {v1.rate:7.1%} {fewer_v1:7.1%} {v2.rate:7.1%} {fewer_v2:7.1%} {better:7.3f} "
        f"{general_v1.rate:7.1%} {general_v2.rate:7.1%}  {'  '.join(columns)}  {'' if good else 'missed'}",
        flush=True,
    )
    return good


def main() -> int:
    """Print one row for each seed; return non-zero if one misses a bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--people", type=int, default=PEOPLE_SEED, help="seed of the people and the acoustics")
    chosen = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        experiment = make_experiment(Path(scratch), chosen.people)
        model = resolve_base_model(load_recipe(experiment.settings.training.recipe))
        base = experiment.score("base", model.digest, model.folder)
        hours = [f"{each.hours['train']:.2f}" for each in (experiment.first, experiment.newest)]
        sessions = len({each.session_id for each in experiment.test})
        print(
            f"{' and '.join(hours)} h for training; {len(experiment.test)} test segments of {sessions} sessions; "
            f"base {base[0].rate:.1%}, general Spanish {base[1].rate:.1%}; corpus in {time.perf_counter() - started:.0f} s"
        )
        print("                                                 general Spanish     steps and seconds of training")
        print("seed      v1   fewer      v2   fewer  better      v1      v2     v1           v2")
        good = sum(run_seed(experiment, seed, base, base[1].rate) for seed in range(chosen.seeds))
    print(f"v2 is better in {good} of {chosen.seeds} seeds; {time.perf_counter() - started:.0f} s in total")
    return int(good < chosen.seeds)


if __name__ == "__main__":
    sys.exit(main())
