"""Check that the promotion rule releases no candidate with one fault, for the right reason.

Needs the result of `make demo` and works on copies of its lake and CDN. Each candidate is trained or changed as a
real mistake would do it, converted, decoded as served, and compared with base and release:

- forgets Castilian: all weights, a high learning rate, no general speech, no share of the base's weights
- hallucinates on silence: the demo's recipe without clips that have no speech
- deletes quiet speech: every quiet clip is marked as without speech
- int8 breaks it: weights of a few channels far above the others, like outliers of large models; float32 is unaffected
- worse than the release: the release mixed with so much of the base that it makes 3 points more errors on the test set

The last one may have no other fault and is far better than the base, so the verdict is to keep the release.

    python benchmarks/promotion_refusals.py --only silence
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from habla_ml.audio import quantise
from habla_ml.corpus.snapshot import Snapshot, Utterance, load_latest_snapshot, read_utterances
from habla_ml.evaluation.comparison.models_under_test import prepare_evaluated_models
from habla_ml.evaluation.comparison.test_speech import TEST, load_test_speech
from habla_ml.evaluation.promotion.rule import Verdict
from habla_ml.evaluation.run import Evaluation, run_evaluation
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml.export.publish import find_version_checkpoint, publish_export
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.release.channel import read_channel
from habla_ml.settings import Settings, load_settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.clips import NonSpeech
from habla_ml.training.extra_speech import ExtraSpeech, read_extra_speech
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import load_whisper_model
from habla_ml.training.plan import plan_version, read_plan, write_recipe_file
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.record import TrainingRecord, read_training_record
from habla_ml.training.run import RunFolder, finish_run, read_finished_run
from habla_ml.training.train import build_training_data

ROOT = Path(__file__).resolve().parent.parent
OUTLIER_CHANNELS = 4
OUTLIER_FACTOR = 300.0
WORSE_BY_POINTS = 3.0
TOLERANCE_POINTS = 0.4


@dataclass(frozen=True)
class DemoCopy:
    """A copy of the demo's result."""

    settings: Settings
    lake: Lake
    snapshot: Snapshot
    scratch: Path

    @property
    def recipe(self) -> Recipe:
        """Return the demo's recipe."""
        return load_recipe(self.settings.training.recipe)

    @property
    def released(self) -> str:
        """Return the version that is current on the channel."""
        release = self.settings.release
        current = read_channel(open_store(release.store), release.channel).current
        if current is None:
            sys.exit("no version is on the channel; run `make demo` first")
        return current.model_version

    @property
    def newest(self) -> str:
        """Return the newest trained version."""
        names = {name.split("/")[1] for name in self.lake.list_pointers("models/") if name.endswith("/checkpoint")}
        return max((each for each in names if each[1:].isdigit()), key=lambda each: int(each[1:]))


@dataclass(frozen=True)
class FaultyCandidate:
    """A model version with one fault."""

    key: str
    fault: str
    version: str
    make: Callable[[DemoCopy, str], None]
    reason: str
    """Text that the reasons must contain."""
    verdicts: tuple[Verdict, ...] = ("refuse",)


def copy_demo(source: Path, scratch: Path) -> DemoCopy:
    """Copy the demo below `scratch`, without its Dagster home."""
    demo = source / "var" / "demo"
    if not (demo / "lake").is_dir():
        sys.exit(f"{demo}/lake does not exist; run `make demo` first")
    shutil.copytree(source / "configs", scratch / "configs")
    shutil.copytree(demo, scratch / "var" / "demo", ignore=shutil.ignore_patterns("dagster_home"))
    settings = load_settings(scratch / "configs" / "demo.yaml")
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    return DemoCopy(settings, lake, load_latest_snapshot(lake), scratch)


def train(demo_copy: DemoCopy, version: str, recipe: Recipe, change: Callable[[Any], Any] = lambda data: data) -> None:
    """Train `recipe` on the demo's snapshot, with its data passed through `change`; publish the checkpoint."""
    file = demo_copy.scratch / f"{version}.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)), "utf-8")
    pinned = demo_copy.settings.training.model_copy(update={"recipe": file})
    plan_version(demo_copy.lake, version, demo_copy.snapshot, pinned)
    base = resolve_base_model(recipe)
    extra = read_extra_speech(demo_copy.lake, demo_copy.snapshot, recipe, demo_copy.settings)
    if recipe.base_share == 0:
        extra = ExtraSpeech()
    identity = RunIdentity.of(recipe, demo_copy.snapshot.id, base, extra.replay)
    folder = RunFolder(demo_copy.scratch / "training" / version, identity)
    data = change(build_training_data(demo_copy.lake, demo_copy.snapshot, recipe, extra.replay))
    finish_run(recipe, identity, base, base.folder, data, folder, lambda update: print(f"  {update.message}"))
    trained = read_finished_run(folder)
    publish(
        demo_copy,
        version,
        TrainingRecord(**dict(trained), version=version, tree=""),
        folder.finished / "checkpoint",
    )


def publish(demo_copy: DemoCopy, version: str, record: TrainingRecord, checkpoint: Path) -> None:
    """Publish a checkpoint as that of `version`."""
    tree = demo_copy.lake.put_tree(checkpoint)
    record = record.model_copy(update={"tree": tree, "version": version})
    value = {
        "tree": tree,
        "record": demo_copy.lake.put_json(record.model_dump(mode="json")),
        "identity": record.identity_digest,
    }
    demo_copy.lake.move_pointer(
        catalogue.CHECKPOINT.name(version), value, demo_copy.lake.read_pointer(catalogue.CHECKPOINT.name(version))
    )


def train_without_castilian(demo_copy: DemoCopy, version: str) -> None:
    """Train without everything that preserves general Spanish."""
    changes = {"name": "forgetful", "parts": "all", "base_share": 0.0, "learning_rate": 1.0e-3}
    train(demo_copy, version, demo_copy.recipe.model_copy(update=changes))


def train_without_non_speech(demo_copy: DemoCopy, version: str) -> None:
    """Train on speech alone."""
    train(demo_copy, version, demo_copy.recipe.model_copy(update={"name": "noisy", "non_speech_share": 0.0}))


def train_with_quiet_as_non_speech(demo_copy: DemoCopy, version: str) -> None:
    """Train with quiet clips marked as without speech."""
    quiet_below = demo_copy.settings.evaluation.quiet_below_dbfs

    def mark_quiet(data: Any) -> Any:
        speech = list(data.train)
        quiet = [each for each in speech if each.loudness_dbfs < quiet_below]
        loud = [each for each in speech if each.loudness_dbfs >= quiet_below]
        share = 2 * len(quiet) / (2 * len(quiet) + len(loud))
        print(f"  {len(quiet)} quiet clips of {len(speech)} marked as without speech")
        return replace(data, train=loud, non_speech=NonSpeech(share, 1, read_pcm(quiet)))

    train(demo_copy, version, demo_copy.recipe.model_copy(update={"name": "deaf", "parts": "all"}), mark_quiet)


def read_pcm(utterances: list[Utterance]) -> Iterator[np.ndarray]:
    """Yield the samples of each utterance."""
    for each in utterances:
        yield quantise(each.audio)


def break_under_int8(demo_copy: DemoCopy, version: str) -> None:
    """Publish the newest version with outlier channels: attention values scaled up, their output weights down.

    In float32 the product is the same. int8 has one scale per row of activations, so the other channels vanish.
    """
    import torch

    origin = demo_copy.newest
    folder = find_version_checkpoint(demo_copy.lake, origin, demo_copy.settings.work_folder).fetch()
    model = load_whisper_model(folder)
    layers = [*model.model.encoder.layers, *model.model.decoder.layers]
    with torch.no_grad():
        for layer in layers:
            attention = layer.self_attn
            scale = torch.ones(attention.v_proj.out_features)
            scale[:: len(scale) // OUTLIER_CHANNELS] = OUTLIER_FACTOR
            attention.v_proj.weight.mul_(scale[:, None])
            attention.v_proj.bias.mul_(scale)
            attention.out_proj.weight.div_(scale[None, :])
    publish_changed_model(demo_copy, version, origin, folder, model)


def publish_changed_model(demo_copy: DemoCopy, version: str, origin: str, folder: Path, model: Any) -> None:
    """Publish `model`, made from the checkpoint of `origin` in `folder`, as the checkpoint of `version`."""
    with tempfile.TemporaryDirectory(dir=demo_copy.scratch) as scratch:
        changed = Path(scratch) / "changed"
        shutil.copytree(folder, changed)
        for weights in changed.glob("*.safetensors*"):
            weights.unlink()
        model.save_pretrained(changed, safe_serialization=True)
        record = read_training_record(demo_copy.lake, origin)
        if record is None:
            sys.exit(f"{origin} has no training record; run `make demo` again")
        if demo_copy.lake.read_pointer(catalogue.PLAN.name(version)) is None:
            file = write_recipe_file(demo_copy.lake, read_plan(demo_copy.lake, origin), demo_copy.scratch)
            training = demo_copy.settings.training.model_copy(update={"recipe": file})
            plan_version(demo_copy.lake, version, demo_copy.snapshot, training)
        publish(demo_copy, version, record, changed)


def mix_weights(folder: Path, other: Path, share: float) -> Any:
    """Return the model in `folder` with `share` of its weights replaced by those of the model in `other`."""
    import torch

    model = load_whisper_model(folder)
    theirs = dict(load_whisper_model(other).named_parameters())
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.lerp_(theirs[name], share)
    return model


def find_share(measure: Callable[[float], float], target: float, tolerance: float, most_steps: int = 8) -> float:
    """Return a share in (0, 1) whose measured loss is within `tolerance` of `target`, by bisection.

    The loss grows with the share. Of `most_steps` measured shares the nearest one is measured last.
    """
    low, high, found = 0.0, 1.0, dict[float, float]()
    for _ in range(most_steps):
        share = (low + high) / 2
        found[share] = measure(share)
        if abs(found[share] - target) <= tolerance:
            return share
        low, high = (share, high) if found[share] < target else (low, share)
    nearest = min(found, key=lambda each: abs(found[each] - target))
    measure(nearest)
    return nearest


def worsen_release(demo_copy: DemoCopy, version: str) -> None:
    """Publish the release mixed with so much of the base that its WER on the test set is 3 points higher."""
    origin = demo_copy.released
    work = demo_copy.settings.work_folder
    folder = find_version_checkpoint(demo_copy.lake, origin, work).fetch()
    base = resolve_base_model(demo_copy.recipe).folder

    def measure(share: float) -> float:
        publish_changed_model(demo_copy, version, origin, folder, mix_weights(folder, base, share))
        change = evaluate_candidate(demo_copy, version).comparison.change("previous")
        if change is None or change.points is None:
            sys.exit(f"{version} was not compared with {origin}; run `make demo` again")
        print(f"  {share:.3f} of the base: {change.points.value:+.1f} points against {change.against}")
        return change.points.value

    find_share(measure, WORSE_BY_POINTS, TOLERANCE_POINTS)


FAULTY_CANDIDATES = (
    FaultyCandidate(
        "castilian", "forgets Castilian", "v901", train_without_castilian, "makes more errors on general Spanish"
    ),
    FaultyCandidate(
        "silence", "hallucinates on silence", "v902", train_without_non_speech, "text in more clips without speech"
    ),
    FaultyCandidate("quiet", "deletes quiet speech", "v903", train_with_quiet_as_non_speech, "deletes more words"),
    FaultyCandidate("int8", "int8 breaks it", "v904", break_under_int8, "conversion changed the output"),
    FaultyCandidate(
        "worse",
        "3 points worse than the release",
        "v905",
        worsen_release,
        "only with a probability of",
        ("keep", "refuse"),
    ),
)


def evaluate_candidate(demo_copy: DemoCopy, version: str) -> Evaluation:
    """Convert, decode as served, compare and decide, as the assets do."""
    work = demo_copy.settings.work_folder
    publish_export(
        demo_copy.lake,
        f"models/{version}/ctranslate2",
        CTRANSLATE2,
        find_version_checkpoint(demo_copy.lake, version, work),
        CTRANSLATE2.build_options(demo_copy.settings.export),
        work,
        print,
    )
    lake, settings = demo_copy.lake, demo_copy.settings
    channel = read_channel(open_store(settings.release.store), settings.release.channel)
    models = prepare_evaluated_models(lake, channel.find_release_to_beat(version), version, settings, print)
    return run_evaluation(
        lake, settings, load_test_speech(TEST, lake, settings), models, lambda line: print(f"  {line}")
    )


def main() -> int:
    """Evaluate all candidates; return 1 where a verdict or its reason is not the expected one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=ROOT, help="folder in which `make demo` ran")
    parser.add_argument("--only", choices=[each.key for each in FAULTY_CANDIDATES], help="run one candidate")
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="refusals-") as scratch:
        demo_copy = copy_demo(arguments.project, Path(scratch))
        print(f"{sum(1 for _ in read_utterances(demo_copy.lake, demo_copy.snapshot, 'test'))} test clips")
        for each in FAULTY_CANDIDATES:
            if arguments.only in {None, each.key}:
                print(f"{each.version}: {each.fault}")
                each.make(demo_copy, each.version)
                found.append((each, evaluate_candidate(demo_copy, each.version)))
                print(*found[-1][1].decision.reasons, sep="\n", flush=True)
    table = Table("candidate", "WER %", "verdict", "reasons", "as expected")
    for candidate, evidence in found:
        score = evidence.comparison.model("candidate")
        is_right = evidence.decision.verdict in candidate.verdicts and any(
            candidate.reason in reason for reason in evidence.decision.reasons
        )
        wer = score.wer.value if score else None
        table.add_row(
            candidate.fault,
            "–" if wer is None else f"{100 * wer:.1f}",
            evidence.decision.verdict,
            "\n".join(evidence.decision.reasons),
            "yes" if is_right else "NO",
        )
    Console(width=200).print(table)
    return int(any(row == "NO" for row in table.columns[4].cells))


if __name__ == "__main__":
    sys.exit(main())
