"""The promotion rule before candidates that are spoilt in one way each: is every one refused, and for the right reason?

Needs the world of `make demo`, and leaves it as it is: lake and CDN are copied. Each candidate is trained (or mended
for the worse) as a real mistake would make it, converted, decoded as served and judged against base and release:

- forgets Castilian: all weights, a high learning rate, no general speech beside the classroom's, no share of the base
- hallucinates on silence: the demo's recipe without sounds in which nobody speaks
- deletes quiet speech: somebody marked every quiet clip as without speech, and the recipe hears them as such
- int8 breaks it: weights of a few channels far above the others, as outliers of large models are; float32 is the same

    python benchmarks/refusals.py --only silence
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

from habla_ml.audio import quantised
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.snapshot import Snapshot, Utterance, latest_snapshot, read_utterances
from habla_ml.evaluation.evidence import Evidence, evaluate_version
from habla_ml.export.publish import checkout_artefact, checkpoint_of, publish_ctranslate2
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.open import open_lake, open_store
from habla_ml.release.contenders import contenders_of
from habla_ml.settings import Settings, load_settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import load_model
from habla_ml.training.non_speech import NonSpeech
from habla_ml.training.plan import plan_version, read_plan, recipe_file
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.record import TrainingRecord, published_record
from habla_ml.training.run import finish_run, finished_run, run_folder
from habla_ml.training.speech import HeardSpeech, read_heard_speech
from habla_ml.training.train import material_of

ROOT = Path(__file__).resolve().parent.parent
OUTLIER_CHANNELS = 4
OUTLIER_FACTOR = 300.0


@dataclass(frozen=True)
class World:
    """A copy of the demo's world."""

    settings: Settings
    lake: Lake
    snapshot: Snapshot
    scratch: Path

    @property
    def recipe(self) -> Recipe:
        """The demo's."""
        return load_recipe(self.settings.training.recipe)

    @property
    def newest(self) -> str:
        """The newest version that was trained."""
        names = {name.split("/")[1] for name in self.lake.pointers("models/") if name.endswith("/checkpoint")}
        return max((each for each in names if each[1:].isdigit()), key=lambda each: int(each[1:]))


@dataclass(frozen=True)
class Candidate:
    """A spoilt model version."""

    key: str
    fault: str
    version: str
    make: Callable[[World, str], None]
    reason: str
    """Words of the reason that must be among those of the refusal."""


def copied_world(source: Path, scratch: Path) -> World:
    """The demo's world below `scratch`, without its Dagster."""
    demo = source / "var" / "demo"
    if not (demo / "lake").is_dir():
        sys.exit(f"{demo}/lake does not exist; run `make demo` first")
    shutil.copytree(source / "configs", scratch / "configs")
    shutil.copytree(demo, scratch / "var" / "demo", ignore=shutil.ignore_patterns("dagster_home"))
    settings = load_settings(scratch / "configs" / "demo.yaml")
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    return World(settings, lake, latest_snapshot(lake), scratch)


def train(
    world: World, version: str, recipe: Recipe, spoil: Callable[[Any], Any] = lambda as_it_is: as_it_is
) -> None:
    """Train `recipe` on the world's snapshot, its material changed by `spoil`, and publish the checkpoint."""
    file = world.scratch / f"{version}.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)), "utf-8")
    pinned = world.settings.training.model_copy(update={"recipe": file})
    plan_version(world.lake, version, world.snapshot, pinned)
    base = resolve_base_model(recipe)
    heard = read_heard_speech(world.lake, world.snapshot, recipe, world.settings)
    if recipe.base_share == 0:
        heard = HeardSpeech()
    identity = RunIdentity.of(recipe, world.snapshot.id, base, heard.replay)
    folder = run_folder(world.scratch / "training" / version, identity)
    material = spoil(material_of(world.lake, world.snapshot, recipe, heard.replay))
    finish_run(recipe, identity, base, base.folder, material, folder, lambda told: print(f"  {told.message}"))
    trained = finished_run(folder)
    publish(
        world, version, TrainingRecord(**dict(trained), version=version, tree=""), folder.finished / "checkpoint"
    )


def publish(world: World, version: str, record: TrainingRecord, checkpoint: Path) -> None:
    """Put a checkpoint into the lake as that of `version`."""
    tree = world.lake.put_tree(checkpoint)
    record = record.model_copy(update={"tree": tree, "version": version})
    value = {
        "tree": tree,
        "record": world.lake.put_json(record.model_dump(mode="json")),
        "identity": record.identity_digest,
    }
    world.lake.move_pointer(
        catalogue.CHECKPOINT.name(version), value, world.lake.pointer(catalogue.CHECKPOINT.name(version))
    )


def forget_castilian(world: World, version: str) -> None:
    """Whatever keeps general Spanish is left out."""
    changes = {"name": "forgetful", "parts": "all", "base_share": 0.0, "learning_rate": 1.0e-3}
    train(world, version, world.recipe.model_copy(update=changes))


def forget_silence(world: World, version: str) -> None:
    """Speech alone."""
    train(world, version, world.recipe.model_copy(update={"name": "noisy", "non_speech_share": 0.0}))


def delete_quiet_speech(world: World, version: str) -> None:
    """Quiet clips are heard as clips without speech."""
    quiet_below = world.settings.evaluation.quiet_below_dbfs

    def spoil(material: Any) -> Any:
        said = list(material.train)
        quiet = [each for each in said if each.loudness_dbfs < quiet_below]
        loud = [each for each in said if each.loudness_dbfs >= quiet_below]
        share = 2 * len(quiet) / (2 * len(quiet) + len(loud))
        print(f"  {len(quiet)} quiet clips of {len(said)} marked as without speech")
        return replace(material, train=loud, non_speech=NonSpeech(share, 1, pcm_of(quiet)))

    train(world, version, world.recipe.model_copy(update={"name": "deaf", "parts": "all"}), spoil)


def pcm_of(utterances: list[Utterance]) -> Iterator[np.ndarray]:
    """Samples of each."""
    for each in utterances:
        yield quantised(each.audio)


def break_under_int8(world: World, version: str) -> None:
    """The newest version with outlier channels: the attention's values are scaled up, what reads them down.

    In float32 the product is the same. int8 has one scale for a row of activations, so the other channels vanish.
    """
    import torch

    origin = world.newest
    folder = checkout_artefact(world.lake, checkpoint_of(world.lake, origin), world.settings.work_folder)
    model = load_model(folder)
    layers = [*model.model.encoder.layers, *model.model.decoder.layers]
    with torch.no_grad():
        for layer in layers:
            attention = layer.self_attn
            scale = torch.ones(attention.v_proj.out_features)
            scale[:: len(scale) // OUTLIER_CHANNELS] = OUTLIER_FACTOR
            attention.v_proj.weight.mul_(scale[:, None])
            attention.v_proj.bias.mul_(scale)
            attention.out_proj.weight.div_(scale[None, :])
    spoilt = world.scratch / "outliers"
    shutil.copytree(folder, spoilt)
    for weights in spoilt.glob("*.safetensors*"):
        weights.unlink()
    model.save_pretrained(spoilt, safe_serialization=True)
    record = published_record(world.lake, origin)
    if record is None:
        sys.exit(f"{origin} has no record of its training")
    file = recipe_file(world.lake, read_plan(world.lake, origin), world.scratch)
    plan_version(world.lake, version, world.snapshot, world.settings.training.model_copy(update={"recipe": file}))
    publish(world, version, record, spoilt)


CANDIDATES = (
    Candidate("castilian", "forgets Castilian", "v901", forget_castilian, "Out-of-domain speech became worse"),
    Candidate("silence", "hallucinates on silence", "v902", forget_silence, "text where nobody speaks"),
    Candidate("quiet", "deletes quiet speech", "v903", delete_quiet_speech, "leaves out words"),
    Candidate("int8", "int8 breaks it", "v904", break_under_int8, "conversion broke it"),
)


def judged(world: World, version: str) -> Evidence:
    """Convert, decode as served, compare and decide, as the assets do."""
    tree = checkpoint_of(world.lake, version)
    publish_ctranslate2(
        world.lake,
        f"models/{version}/ctranslate2",
        tree,
        checkout_artefact(world.lake, tree, world.settings.work_folder),
        world.settings.export.ctranslate2_quantisation,
        world.settings.work_folder,
    )
    return evaluate_version(
        world.lake,
        version,
        world.snapshot,
        contenders_of(world.lake, open_store(world.settings.release.store), version, world.settings, print),
        load_conventions(world.settings.corpus.conventions),
        world.settings,
        world.scratch / "reports" / version,
        "2026-03-01",
        lambda line: print(f"  {line}"),
    )


def main() -> int:
    """Command line; 1 where a candidate passes or is refused for another reason only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=ROOT, help="where `make demo` was run")
    parser.add_argument("--only", choices=[each.key for each in CANDIDATES], help="one of them")
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="refusals-") as scratch:
        world = copied_world(arguments.world, Path(scratch))
        print(f"{sum(1 for _ in read_utterances(world.lake, world.snapshot, 'test'))} test clips")
        for each in CANDIDATES:
            if arguments.only in {None, each.key}:
                print(f"{each.version}: {each.fault}")
                each.make(world, each.version)
                found.append((each, judged(world, each.version)))
                print(*found[-1][1].decision.reasons, sep="\n", flush=True)
    table = Table("candidate", "WER %", "verdict", "refused for", "as expected")
    for candidate, evidence in found:
        score = evidence.comparison.model("candidate")
        is_right = evidence.decision.verdict == "refuse" and any(
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
