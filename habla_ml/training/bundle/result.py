"""Check the result of a bundle and publish it as if it had been trained here.

Of the result only the weights and the record of the run are taken. Configs and tokenizer are written again from the base
model and must be equal, so no other file, and nothing pickled, is ever read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from habla_ml.consent.admission import Consents
from habla_ml.corpus.consent_check import check_consents, check_not_erased
from habla_ml.errors import InputError, TrainingError
from habla_ml.json_input import parse_json
from habla_ml.lake import Lake, catalogue
from habla_ml.scratch import make_scratch_folder
from habla_ml.settings import Settings
from habla_ml.training.bundle.inputs import VersionInputs, read_version_inputs
from habla_ml.training.bundle.manifest import (
    CHECKPOINT_FOLDER,
    MANIFEST_FILE,
    RESULT_FILE,
    RESULT_FOLDER,
    RUN_FILE,
    BundledStage,
    BundleManifest,
    FileDigest,
    ResultManifest,
    StageName,
    check_files,
    read_manifest,
)
from habla_ml.training.first_stage import publish_first_stage
from habla_ml.training.model_folder import write_base_files
from habla_ml.training.plan import find_plan
from habla_ml.training.record import FirstStageRecord, TrainedRun, TrainingRecord, read_training_record
from habla_ml.training.run import RunFolder
from habla_ml.training.train import publish_version

_WEIGHTS: Final = "model.safetensors"


def import_bundle(
    lake: Lake, settings: Settings, folder: Path, consents: Consents, report: Callable[[str], None]
) -> TrainingRecord:
    """Publish the result in the folder of a bundle; the same result again does no work.

    Raises:
        TrainingError: The bundle was not made here, its inputs are not those of the version any more, or a file is
            missing, damaged, changed or unexpected. Nothing is published.
        CorpusError: A voice of the bundle is erased or has no consent now.
    """
    manifest, digest = read_manifest(folder / MANIFEST_FILE, BundleManifest)
    result, _ = read_manifest(folder / RESULT_FOLDER / RESULT_FILE, ResultManifest)
    version = manifest.version
    _check_origin(lake, manifest, digest, result, folder)
    seen = lake.read_pointer(catalogue.CHECKPOINT.name(version))
    inputs = _read_present_inputs(lake, settings, manifest)
    check_not_erased(lake, inputs.snapshot)
    check_consents(lake, inputs.snapshot, consents)
    report(f"checking {len(result.files)} files")
    root = folder / RESULT_FOLDER
    runs = {stage.name: _read_run(root / stage.name / RUN_FILE, stage, manifest) for stage in manifest.stages}
    trained = runs["version"]
    published = read_training_record(lake, version)
    if published is not None and published.identity_digest == trained.identity_digest:
        report(f"{version} is already imported; nothing to do")
        return published
    if published is not None:
        raise TrainingError(f"{version} was trained elsewhere meanwhile ({published.device}); nothing was replaced")
    with make_scratch_folder(settings.work_folder, "bundle") as scratch:
        checked = {name: _check_run(root, name, run, inputs, result, scratch) for name, run in runs.items()}
        first: FirstStageRecord | None = inputs.published_stage
        if "first_stage" in runs:
            first = publish_first_stage(lake, runs["first_stage"].identity, checked["first_stage"])
        record = publish_version(lake, version, checked["version"], seen, (first, inputs.start), inputs.extra_speech)
    report(
        f"{version} published: checkpoint tree {record.tree[:12]}, step {record.best_step}, trained on {record.device}"
    )
    return record


def _check_origin(lake: Lake, manifest: BundleManifest, digest: str, result: ResultManifest, folder: Path) -> None:
    pointer = lake.read_pointer(catalogue.BUNDLE.name(manifest.version))
    made = [] if pointer is None else [each["manifest"] for each in pointer.value["bundles"]]
    if f"sha256:{digest}" not in made:
        raise TrainingError(
            f"{folder / MANIFEST_FILE} is no bundle of {manifest.version} that {lake.url} made, or it was changed; import it "
            "where it was made, with the file as it was"
        )
    if result.bundle != digest:
        raise TrainingError(
            f"{folder / RESULT_FOLDER} is the result of another bundle; copy the one that belongs to it"
        )


def _read_present_inputs(lake: Lake, settings: Settings, manifest: BundleManifest) -> VersionInputs:
    """Return the version's inputs; raise `TrainingError` unless they are those of the bundle."""
    version, plan = manifest.version, find_plan(lake, manifest.version)
    bundled = manifest.stages[-1].identity
    if plan is None or plan.snapshot != bundled.snapshot:
        raise TrainingError(
            f"the bundle of {version} has snapshot {bundled.snapshot[:12]}, and the plan of {version} now has "
            f"{'none' if plan is None else plan.snapshot[:12]}: a voice in the bundle was erased since, or the plan was removed. "
            "Delete the bundle and its result everywhere, and bundle the version again"
        )
    inputs = read_version_inputs(lake, settings, version)
    pairs = [(inputs.identity, bundled)]
    if len(manifest.stages) > 1 and inputs.stage is not None:
        pairs.append((inputs.stage, manifest.stages[0].identity))
    for present, then in pairs:
        if not present.has_inputs_of(then):
            raise TrainingError(
                f"the inputs of {version} are not those of the bundle any more ({present.describe_differences(then)}); bundle "
                "it again"
            )
    return inputs


def _read_run(path: Path, stage: BundledStage, manifest: BundleManifest) -> TrainedRun:
    """Return the record of a run, as this deployment names its inputs."""
    try:
        run = TrainedRun.model_validate(parse_json(path.read_bytes()))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}; copy the folder again") from error
    except (InputError, ValidationError) as error:
        raise TrainingError(f"{path} is no record of a run; copy the folder again") from error
    is_whole = run.identity_digest == run.identity.digest and any(each.step == run.best_step for each in run.validation)
    if not is_whole or not run.identity.has_inputs_of(stage.identity):
        differences = stage.identity.describe_differences(run.identity)
        raise TrainingError(f"{path} is the record of another training ({differences}); copy the result of this bundle")
    if {each.sources for each in run.code} != {manifest.sources}:
        raise TrainingError(f"{path}: the run had other code than the bundle; train it with the bundle's own")
    ours = manifest.code
    code = tuple(
        each.model_copy(update={"commit": ours.commit, "changes": ours.changes, "sources": ours.sources})
        for each in run.code
    )
    return run.model_copy(update={"code": code})


def _check_run(
    root: Path, name: StageName, run: TrainedRun, inputs: VersionInputs, result: ResultManifest, scratch: Path
) -> RunFolder:
    """Return a folder with the checked run, to publish; raises `TrainingError` if a file does not fit."""
    folder = RunFolder(scratch / name, run.identity)
    checkpoint = folder.finished / CHECKPOINT_FOLDER
    checkpoint.mkdir(parents=True)
    write_base_files(inputs.base, checkpoint)
    own = {each.name: FileDigest.of(each) for each in checkpoint.iterdir()}
    prefix = f"{name}/{CHECKPOINT_FOLDER}"
    expected = {f"{name}/{RUN_FILE}", f"{prefix}/{_WEIGHTS}", *(f"{prefix}/{each}" for each in own)}
    found = {each for each in result.files if each.startswith(f"{name}/")}
    present = {each.relative_to(root).as_posix() for each in (root / name).rglob("*") if not each.is_dir()}
    stages = {each for each in result.files if each.partition("/")[0] not in ("first_stage", "version")}
    if odd := sorted(((found | present) ^ expected) | stages):
        state = "is missing" if odd[0] in expected else "does not belong there"
        raise TrainingError(f"{root / odd[0]} {state}; a result has only weights, configs and records: copy it again")
    check_files(root, {each: result.files[each] for each in found})
    for each, digest in own.items():
        if result.files[f"{prefix}/{each}"] != digest:
            raise TrainingError(f"{root / prefix / each} is not that of the base model; train the bundle as it is")
    shutil.copyfile(root / prefix / _WEIGHTS, checkpoint / _WEIGHTS)
    (checkpoint / _WEIGHTS).chmod(0o644)
    if FileDigest.of(checkpoint / _WEIGHTS) != result.files[f"{prefix}/{_WEIGHTS}"]:
        raise TrainingError(f"{root / prefix / _WEIGHTS} changed while it was read; import it again")
    _check_weights(checkpoint, root / prefix / _WEIGHTS)
    base, recipe = inputs.base, inputs.recipe
    names = {"base_model": base.name, "base_model_revision": base.revision}
    named = recipe.name if name == "version" else recipe.to_first_stage_recipe().name
    speech = inputs.extra_speech.replay if name == "version" else inputs.extra_speech.first_stage
    run = run.model_copy(update={**names, "recipe": named, "general_speech": speech.sources})
    (folder.finished / RUN_FILE).write_text(run.model_dump_json(indent=2), "utf-8")
    return folder


def _check_weights(checkpoint: Path, source: Path) -> None:
    """Raise `TrainingError` unless the weights are all those of the model, and finite."""
    import torch
    from safetensors import SafetensorError
    from transformers import WhisperForConditionalGeneration

    try:
        model, loaded = WhisperForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise TrainingError(
            f"{source} is no file of this model's weights: {type(error).__name__}; copy it again"
        ) from error
    faults = [key for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if loaded.get(key)]
    if faults:
        raise TrainingError(f"{source} does not fit the model ({', '.join(faults)}); copy it again")
    if not all(bool(torch.isfinite(each).all()) for each in model.parameters()):
        raise TrainingError(f"{source} has weights that are not finite; train the bundle again")
