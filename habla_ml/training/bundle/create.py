"""Write the bundle of a version."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from habla_ml.code_identity import identify_code, read_code_identity
from habla_ml.consent.admission import Consents
from habla_ml.corpus.consent_check import check_consents, check_not_erased
from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.errors import LakeError, PointerMovedError, TrainingError
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.settings import Settings
from habla_ml.training.base_model import COPIED_FILES
from habla_ml.training.bundle.inputs import VersionInputs, read_version_inputs
from habla_ml.training.bundle.manifest import (
    MANIFEST_FILE,
    BundledBase,
    BundledStage,
    BundleManifest,
    StageName,
    digest_files,
)
from habla_ml.training.bundle.page import LAUNCH_SCRIPT, describe_bundle
from habla_ml.training.bundle.source import copy_code, list_pins
from habla_ml.training.bundle.speech import bundle_clips
from habla_ml.training.first_stage import build_stage_data
from habla_ml.training.identity import RunIdentity
from habla_ml.training.model_folder import load_tokenizer
from habla_ml.training.plan import pin_plan
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import read_training_record
from habla_ml.training.run import TrainingData
from habla_ml.training.target_forms import TargetMix
from habla_ml.training.targets import TargetEncoder
from habla_ml.training.train import build_training_data

_ATTEMPTS: Final = 20


@dataclass(frozen=True)
class _Run:
    """One run that the bundle trains."""

    name: StageName
    recipe: Recipe
    identity: RunIdentity
    data: TrainingData
    speech: GeneralSpeech


def create_bundle(
    lake: Lake, settings: Settings, version: str, folder: Path, consents: Consents, report: Callable[[str], None]
) -> BundleManifest:
    """Pin the plan of a version and write everything for its training to a new folder, which appears complete or not at all.

    Raises:
        TrainingError: The folder exists, or the version is published.
        CorpusError: A voice of the snapshot is erased or has no consent now, or no consents are recorded.
        LakeError: The folder cannot be written.
    """
    if folder.exists():
        raise TrainingError(f"{folder} exists already; name a folder that does not exist yet")
    if read_training_record(lake, version) is not None:
        raise TrainingError(f"{version} is already trained; bundle the next version")
    inputs = read_version_inputs(lake, settings, version)
    check_not_erased(lake, inputs.snapshot)
    check_consents(lake, inputs.snapshot, consents)
    pin_plan(lake, inputs.plan)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as unfinished:
            draft = Path(unfinished) / "bundle"
            manifest = _write_bundle(lake, inputs, draft, Path(unfinished) / "scratch", report)
            data = manifest.model_dump_json(indent=2).encode()
            (draft / MANIFEST_FILE).write_bytes(data)
            _record_bundle(lake, manifest, data)
            draft.rename(folder)
    except OSError as error:
        raise LakeError(
            f"bundle {folder} cannot be written: {error.strerror or error}; check permissions and free space"
        ) from error
    return manifest


def _write_bundle(
    lake: Lake, inputs: VersionInputs, draft: Path, scratch: Path, report: Callable[[str], None]
) -> BundleManifest:
    base = inputs.base
    (draft / "base").mkdir(parents=True)
    for name in (*COPIED_FILES, "model.safetensors"):
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, draft / "base" / name)
    earlier = inputs.published_stage or inputs.start
    if earlier is not None:
        lake.checkout_tree(earlier.tree, draft / "start")
    targets = TargetEncoder(load_tokenizer(base))
    speech = Lake(DirectoryStore(draft / "speech"), scratch / "cache")
    stages = []
    for run in _list_runs(lake, inputs):
        report(f"writing the clips of {run.data.name}")
        bundle_clips(
            run.data, targets, TargetMix.of(run.recipe), speech, draft / "stages" / run.name, scratch / run.name
        )
        stages.append(
            BundledStage(
                name=run.name,
                data=run.data.name,
                recipe=_make_portable(run.recipe),
                identity=run.identity,
                general_speech=run.speech.sources,
            )
        )
    copy_code(draft / "code")
    (draft / "requirements.txt").write_text("\n".join(list_pins(inputs.identity.packages)) + "\n", "utf-8")
    (draft / "train.sh").write_text(LAUNCH_SCRIPT, "utf-8")
    (draft / "train.sh").chmod(0o755)
    code = identify_code(draft / "code" / "habla_ml")
    manifest = BundleManifest(
        version=inputs.plan.version,
        created_at=datetime.now(UTC),
        code=read_code_identity(),
        sources=str(code.sources),
        base=BundledBase(name=_make_portable(inputs.recipe).base_model, revision=base.revision, digest=base.digest),
        stages=tuple(stages),
        has_start=earlier is not None,
        files={},
    )
    (draft / "README.md").write_text(describe_bundle(manifest, inputs.snapshot), "utf-8")
    return manifest.model_copy(update={"files": digest_files(draft)})


def _list_runs(lake: Lake, inputs: VersionInputs) -> list[_Run]:
    recipe, extra = inputs.recipe, inputs.extra_speech
    data = build_training_data(lake, inputs.snapshot, recipe, extra.replay, extra.excluded_sounds)
    runs = [_Run("version", recipe, inputs.identity, data, extra.replay)]
    if inputs.stage is not None and inputs.published_stage is None:
        own = recipe.to_first_stage_recipe()
        stage_data = build_stage_data(own, extra.first_stage)
        runs.insert(0, _Run("first_stage", own, inputs.stage, stage_data, extra.first_stage))
    return runs


def _make_portable(recipe: Recipe) -> Recipe:
    """Return the recipe without the path of a folder on this machine, which can have a name, and without trackers."""
    changes: dict[str, Any] = {"report_to": ("tensorboard",)}
    if recipe.base_model.startswith(("/", "~")):
        changes["base_model"] = f"/{Path(recipe.base_model).name}"
    return recipe.model_copy(update=changes)


def _record_bundle(lake: Lake, manifest: BundleManifest, data: bytes) -> None:
    """Add the bundle to those of its version, by which a result is recognised."""
    made = {"manifest": f"sha256:{hashlib.sha256(data).hexdigest()}", "created_at": manifest.created_at.isoformat()}
    name = catalogue.BUNDLE.name(manifest.version)
    for _ in range(_ATTEMPTS):
        seen = lake.read_pointer(name)
        earlier = [] if seen is None else seen.value["bundles"]
        try:
            lake.move_pointer(name, {"bundles": [*earlier, made]}, seen)
        except PointerMovedError:
            continue
        return
    raise LakeError(f"other processes moved the pointer {name} {_ATTEMPTS} times in a row; run again")
