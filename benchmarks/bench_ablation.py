"""Which keys of a recipe help? The demo's recipe with SpecAugment and one change at a time, on equal audio, scored as served.

Each run trains on the demo's newest snapshot and is scored at 30 s windows: wrong and missing words of the test set, general
Spanish, and invented text in clips without speech. Every configuration has the same seeds. Its difference from `reference`
is paired: same seed, same clips, with an interval over seeds and sessions. Each run is stored as it ends, and a stored one
is not repeated.

    python benchmarks/bench_ablation.py --seeds 3 --folder var/ablation
    python benchmarks/bench_ablation.py --seeds 1 --only reference --only noise
    python benchmarks/bench_ablation.py --table
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bench_demo_seeds import DemoExperiment, load_experiment, make_experiment

from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.demo.lessons import PEOPLE_SEED
from habla_ml.evaluation.comparison.profile_scores import ProfileScore, score_profiles, select_clips
from habla_ml.evaluation.metrics.alignments import read_alignments
from habla_ml.evaluation.metrics.non_speech import make_built_in_clips
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.export.publish import checkout_artefact
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import load_settings
from habla_ml.training.extra_speech import read_extra_speech
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.train import train_version
from habla_ml.transcription.serving_profiles import build_profile_options

REFERENCE = "reference"
DRAWS = 10_000
PROFILE_CLIPS = 60
MEANS = {
    "general_wer": ".1%",
    "invented": ".0%",
    "habla_wer": ".1%",
    "phone_wer": ".1%",
    "phone_end_ms": ".0f",
    "hours": ".2f",
    "cpu_s": ".0f",
}
"""Columns of the table that are means over seeds: field of `Run` → format."""
ADAPTERS = {
    "r": 16,
    "alpha": 32,
    "dropout": 0.05,
    "target_modules": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}
LORA = {"method": "lora", "parts": "all", "learning_rate": 3e-3}
CADENCE = {
    "evaluate_every_steps": None,
    "evaluations_per_epoch": 4,
    "validation_clips": 64,
    "early_stopping_patience": 1000,
}
EFFECTS = ("speed", "pitch", "reverberation", "noise", "gain")
BASELINE = {"spec_augment": {}}
"""What the reference has besides the demo's recipe."""
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    **{f"full_share-{share:g}": {"windows": {"full_share": share}} for share in (0, 0.06, 0.3, 1)},
    **{f"timestamps-{share:g}": {"timestamps_share": share} for share in (0.25, 0.5)},
    "no-spec-augment": {"spec_augment": None},
    **{effect: {"augmentation": {effect: {}}} for effect in EFFECTS},
    "all-effects": {"augmentation": {effect: {} for effect in EFFECTS}},
    "all-effects-but-pitch": {"augmentation": {effect: {} for effect in EFFECTS if effect != "pitch"}},
    "all-weights": {"parts": "all"},
    "lora-decoder": {**LORA, "lora": {**ADAPTERS, "encoder": False}},
    "lora-both": {**LORA, "lora": {**ADAPTERS, "encoder": True}},
    "no-replay": {},
    "no-base-share": {"base_share": 0.0},
    "cosine": {"lr_schedule": "cosine"},
    "weight-decay": {"weight_decay": 0.01},
    "best-of-many": CADENCE,
    "averaging": {**CADENCE, "average_checkpoints": 5},
}
"""Name → the changes of the reference, which has full_share 0.12, the encoder only, SpecAugment and replay."""
WITHOUT_REPLAY = {"no-replay"}


@dataclass(frozen=True)
class Run:
    """The result of one training; errors, deletions and words are those of each test clip."""

    name: str
    seed: int
    recipe: str
    """Its digest; with other epochs or changed code of the recipe, the run is another one."""
    errors: list[int]
    deletions: list[int]
    words: list[int]
    general_wer: float
    invented: float
    """Share of the clips without speech that have text."""
    steps: int
    hours: float
    """Hours of the clips of all steps."""
    cpu_s: float
    phone_wer: float
    """WER of `PROFILE_CLIPS` test clips under the phone's profile, which decodes with timestamps."""
    habla_wer: float
    """Of the same clips under the deciding profile."""
    phone_end_ms: float | None
    """Mean absolute error of the last segment's end on the phone."""


@dataclass(frozen=True)
class Ablation:
    """The demo's corpus and the stored runs below `folder`."""

    folder: Path
    people: int
    epochs: float

    @cache  # noqa: B019  one object lives as long as the process
    def open_experiment(self) -> DemoExperiment:
        """Record the demo's corpus, or open the recorded one."""
        world, ready = self.folder / "world", self.folder / "world" / "ready"
        if ready.exists():
            settings = load_settings(world / "configs" / "demo.yaml", {})
            lake = Lake(DirectoryStore(world / "lake"), world / "cache")
            newest = load_latest_snapshot(lake)
            return load_experiment(lake, settings, newest, newest)
        if world.exists():
            raise SystemExit(f"{world} is incomplete; delete it and run again")
        experiment = make_experiment(world, self.people)
        ready.write_text(f"{self.people}\n")
        return experiment

    def make_recipe(self, name: str, seed: int, epochs: float) -> Recipe:
        """Return the demo's recipe with the changes of a configuration, and a length by the audio alone."""
        recipe = load_recipe(Path(__file__).resolve().parent.parent / "configs" / "recipes" / "demo-full.yaml")
        length = {"epochs": epochs, "min_steps": None, "max_steps": None, "seed": recipe.seed + seed}
        changed = {
            **recipe.model_dump(),
            **BASELINE,
            "evaluate_every_steps": 1_000_000,
            **length,
            **CONFIGURATIONS[name],
        }
        return Recipe.model_validate(changed)

    def get_path(self, name: str, seed: int) -> Path:
        """Return where a run is stored."""
        digest = self.make_recipe(name, seed, self.epochs).digest[:8]
        return self.folder / "runs" / f"{name}-{seed}-{digest}.json"

    def run(self, name: str, seed: int) -> Run:
        """Train and score a configuration with a seed, and store the result; a stored one is only read."""
        path = self.get_path(name, seed)
        if not path.exists():
            result = self._train_and_score(name, seed, path.stem)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(asdict(result)))
            partial.replace(path)
        return Run(**json.loads(path.read_text()))

    def _train_and_score(self, name: str, seed: int, version: str) -> Run:
        experiment = self.open_experiment()
        lake, newest, settings = experiment.lake, experiment.newest, experiment.settings
        epochs = self.epochs
        recipe = self.make_recipe(name, seed, epochs)
        speech = read_extra_speech(lake, newest, recipe, settings)
        if name in WITHOUT_REPLAY:
            replay_h = sum(len(each.audio) for each in speech.replay.utterances) / 16_000 / 3600
            recipe = self.make_recipe(name, seed, epochs * (1 + replay_h / newest.hours["train"]))
            training = settings.training.model_copy(update={"replay": ()})
            speech = read_extra_speech(lake, newest, recipe, settings.model_copy(update={"training": training}))
        started = time.process_time()
        folder = settings.work_folder / "ablation" / version
        record = train_version(lake, newest, recipe, version, folder, lambda _: None, speech)
        cpu_s = time.process_time() - started
        checkpoint = checkout_artefact(lake, record.tree, settings.work_folder)
        silent = tuple(make_built_in_clips(seed=0, takes=2))
        clips = [*experiment.test, *experiment.general, *silent]
        decoded = experiment.decode(version, record.tree, checkpoint, clips)
        texts = [each.text for each in decoded]
        habla, phone = self._score_profiles(version, record.tree, checkpoint)
        n_test, n_silent = len(experiment.test), len(silent)
        words = _count(experiment.test, texts[:n_test])
        general = _count(experiment.general, texts[n_test:-n_silent])
        return Run(
            name,
            seed,
            recipe.digest,
            [each.errors for each in words],
            [each.deletions for each in words],
            [each.reference_words for each in words],
            sum(each.errors for each in general) / sum(each.reference_words for each in general),
            float(np.mean([bool(normalise_spanish(text)) for text in texts[-n_silent:]])),
            record.steps,
            record.processed_hours,
            cpu_s,
            float(phone.wer.value),
            float(habla.wer.value),
            phone.segment_ends.mean_absolute_ms if phone.segment_ends else None,
        )

    def _score_profiles(self, version: str, tree: str, checkpoint: Path) -> tuple[ProfileScore, ...]:
        experiment = self.open_experiment()
        evaluation = experiment.settings.evaluation
        total, chosen = select_clips(experiment.test, PROFILE_CLIPS)
        clips = [each for each in experiment.test if each.segment_id in chosen]
        options = {name: build_profile_options(name, evaluation) for name in ("habla", "phone")}
        decoded = {name: experiment.decode(version, tree, checkpoint, clips, each) for name, each in options.items()}
        marked = None if evaluation.alignments is None else read_alignments(evaluation.alignments)
        return score_profiles(clips, options, decoded, total, evaluation, marked).scores


def _count(utterances: Any, texts: list[str]) -> list[Any]:
    scores = score_utterances([each.sentence for each in utterances], texts, normalise_spanish)
    return [each.words for each in scores]


def estimate_difference(
    ours: Mapping[int, Run], reference: Mapping[int, Run], sessions: list[str]
) -> tuple[float, float, float] | None:
    """Return the difference of two WERs and its 95 % interval over seeds and sessions; None without a common seed."""
    seeds = sorted(ours.keys() & reference.keys())
    if not seeds:
        return None
    _, unit = np.unique(sessions, return_inverse=True)
    difference = np.array([np.bincount(unit, np.subtract(ours[seed].errors, reference[seed].errors)) for seed in seeds])
    words = np.bincount(unit, ours[seeds[0]].words)
    rng = np.random.default_rng(1)
    drawn_seeds = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), DRAWS)
    drawn = rng.multinomial(len(words), np.full(len(words), 1 / len(words)), DRAWS)
    draws = np.einsum("ds,sk,dk->d", drawn_seeds, difference, drawn) / (len(seeds) * (drawn @ words))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(difference.sum() / (len(seeds) * words.sum())), float(low), float(high)


def format_table(runs: Mapping[str, Mapping[int, Run]], sessions: list[str]) -> str:
    """Return a Markdown table with one row for each configuration."""
    rows = [
        "| configuration | seeds | WER | difference from the reference, points (95 %) | deletions | general Spanish | "
        "silent clips with text | as Habla, sample | as the phone, same sample | end on the phone, ms | audio, h | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, by_seed in runs.items():
        found = list(by_seed.values())
        n_words = sum(sum(each.words) for each in found)
        compared = None if name == REFERENCE else estimate_difference(by_seed, runs.get(REFERENCE, {}), sessions)
        points = "–" if compared is None else "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * each for each in compared))
        cells = [
            name,
            str(len(found)),
            f"{sum(sum(each.errors) for each in found) / n_words:.1%}",
            points,
            f"{sum(sum(each.deletions) for each in found) / n_words:.1%}",
            *(_format_mean(found, key, form) for key, form in MEANS.items()),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _format_mean(runs: list[Run], key: str, form: str) -> str:
    values = [value for each in runs if (value := getattr(each, key)) is not None]
    return format(np.mean(values), form) if values else "–"


def main() -> int:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(CONFIGURATIONS), help="a configuration; again for more")
    parser.add_argument("--epochs", type=float, default=4.0, help="uses of each clip, the same for every configuration")
    parser.add_argument("--folder", type=Path, default=Path("var/ablation"), help="corpus and results")
    parser.add_argument("--people", type=int, default=PEOPLE_SEED, help="seed of the people and the acoustics")
    parser.add_argument("--table", action="store_true", help="only print what is stored")
    chosen = parser.parse_args()
    ablation = Ablation(chosen.folder.resolve(), chosen.people, chosen.epochs)
    runs: dict[str, dict[int, Run]] = defaultdict(dict)
    for seed in range(chosen.seeds):
        for name in chosen.only or CONFIGURATIONS:
            if chosen.table and not ablation.get_path(name, seed).exists():
                continue
            runs[name][seed] = ablation.run(name, seed)
            print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)
    sessions = [each.session_id for each in ablation.open_experiment().test]
    print(format_table(runs, sessions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
