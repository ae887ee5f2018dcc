"""A version trained in another folder, by the bundle's own command, is as good as one trained here; nothing else is taken."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from habla_ml.consent.tombstones import add_tombstones
from habla_ml.erasure.matcher import ErasureMatcher
from habla_ml.erasure.rewrite import PointerRewriter
from habla_ml.errors import CorpusError, HablaError, TrainingError
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.lake.table import read_table
from habla_ml.settings import load_settings
from habla_ml.training.bundle.manifest import FileDigest
from habla_ml.training.bundle.result import import_bundle
from habla_ml.training.bundle.source import list_pins
from habla_ml.training.recipe import FirstStage, Recipe
from habla_ml.training.record import read_training_record
from habla_ml_tests.testing.bundled_training import (
    SPEAKER,
    BundledDeployment,
    copy_result,
    run_bundle,
    start_bundle,
)
from habla_ml_tests.testing.general_speech_sources import make_common_voice_row, write_common_voice


@pytest.fixture(scope="module")
def recipe(tiny_base: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base_model": str(tiny_base),
            "learning_rate": 5e-3,
            "max_steps": 8,
            "batch_s": 9.0,
            "windows": {"full_share": 0.5},
            "evaluate_every_steps": 4,
            "log_every_steps": 2,
            "validation_clips": 2,
            "non_speech_share": 0.1,
            "validation_bounds": {"non_speech_clips": 8},
            "report_to": ["tensorboard"],
            "threads": 1,
        }
    )


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[BundledDeployment, Path]:
    """A deployment and its bundle, which was killed once while it trained, resumed and finished."""
    here = BundledDeployment(tmp_path_factory.mktemp("deployment"), recipe)
    folder, _ = here.bundle()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "rented"
    shutil.copytree(folder, elsewhere)
    process = start_bundle(elsewhere)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 6/8: loss"):
            process.kill()
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert "resuming at step 4" in run_bundle(elsewhere)
    return here, copy_result(elsewhere, tmp_path_factory.mktemp("back") / "v1")


@pytest.fixture
def back(trained: tuple[BundledDeployment, Path], tmp_path: Path) -> Path:
    """A copy of the result to damage."""
    return Path(shutil.copytree(trained[1], tmp_path / "back"))


@contextmanager
def refused(here: BundledDeployment, match: str, error: type[HablaError] = TrainingError) -> Iterator[None]:
    """Expect an import to fail and to publish nothing."""
    with pytest.raises(error, match=match):
        yield
    assert read_training_record(here.lake, "v1") is None


def rewrite_result(back: Path, name: str, data: bytes | None) -> None:
    """Replace, add or remove a file of the result with its digest, as a person who wants to deceive would."""
    path = back / "result" / name
    listing = back / "result" / "result.json"
    value = json.loads(listing.read_text())
    value["files"].pop(name, None)
    if data is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        value["files"][name] = FileDigest.of(path).model_dump()
    listing.write_text(json.dumps(value))


@pytest.mark.slow
def test_a_bundle_has_no_name_and_no_path_of_this_machine(trained: tuple[BundledDeployment, Path]) -> None:
    here, _ = trained
    folder = here.folder / "bundle"
    secret = [SPEAKER, "session-2026", "segment-0", "c-001", str(here.folder)]
    for path in folder.rglob("*"):
        if path.is_file() and "code" not in path.relative_to(folder).parts:
            content = path.read_bytes()
            assert not [each for each in secret if each.encode() in content], path
    assert "Delete the whole folder there" in (folder / "README.md").read_text()
    value = here.lake.read_pointer(catalogue.BUNDLE.name("v1"))
    assert value is not None
    assert len(value.value["bundles"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        (
            "version/checkpoint/pytorch_model.bin",
            lambda _: b"\x80\x04pickle",
            "pytorch_model.bin does not belong there",
        ),
        ("version/checkpoint/config.json", lambda data: data + b" ", "config.json is not that of the base model"),
        ("version/checkpoint/tokenizer.json", lambda _: None, "tokenizer.json is missing"),
        ("version/checkpoint/model.safetensors", lambda data: data[:-4], "is no file of this model's weights"),
        ("version/run.json", lambda data: data.replace(b'"seed": ', b'"seed": 1'), "is the record of another training"),
        ("version/run.json", lambda _: b"[]", "is no record of a run"),
        ("other/file", lambda _: b"x", "other/file does not belong there"),
    ],
)
def test_a_result_with_changed_files_is_refused(
    trained: tuple[BundledDeployment, Path], back: Path, name: str, change: Callable[[bytes], bytes | None], match: str
) -> None:
    path = back / "result" / name
    rewrite_result(back, name, change(path.read_bytes() if path.exists() else b""))
    with refused(trained[0], match):
        trained[0].bring_back(back)


@pytest.mark.slow
def test_a_damaged_or_foreign_folder_is_refused(trained: tuple[BundledDeployment, Path], back: Path) -> None:
    here, _ = trained
    weights = back / "result" / "version" / "checkpoint" / "model.safetensors"
    tensors = load_file(weights)
    name = next(iter(tensors))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with refused(here, "model.safetensors is damaged"):
        here.bring_back(back)
    save_file({**tensors, name: torch.full_like(tensors[name], torch.nan)}, weights)
    rewrite_result(back, "version/checkpoint/model.safetensors", weights.read_bytes())
    with refused(here, "not finite"):
        here.bring_back(back)
    save_file({**tensors, name: torch.zeros(3)}, weights)
    rewrite_result(back, "version/checkpoint/model.safetensors", weights.read_bytes())
    with refused(here, "does not fit the model|is no file of this model's weights"):
        here.bring_back(back)
    weights.unlink()
    weights.symlink_to("/etc/hostname")
    with refused(here, "missing or no plain file|outside the folder"):
        here.bring_back(back)
    listing = back / "result" / "result.json"
    value = json.loads(listing.read_text())
    outside = {"version/../../x": {"size_bytes": 1, "sha256": "0" * 64}}
    listing.write_text(json.dumps({**value, "files": {**value["files"], **outside}}))
    with refused(here, "does not belong there"):
        here.bring_back(back)
    listing.write_text(json.dumps({**value, "bundle": "0" * 64}))
    with refused(here, "the result of another bundle"):
        here.bring_back(back)
    manifest = back / "bundle.json"
    manifest.write_text(manifest.read_text().replace('"learning_rate": 0.005', '"learning_rate": 0.006'))
    with refused(here, "is no bundle of v1 that .* made, or it was changed"):
        here.bring_back(back)
    manifest.write_text("{")
    with refused(here, "copy the folder again"):
        here.bring_back(back)


@pytest.mark.slow
def test_a_voice_without_consent_keeps_the_result_out(trained: tuple[BundledDeployment, Path]) -> None:
    here, result = trained
    here.write_consents(withdrawn="2026-02-20")
    with refused(here, "segments without a valid consent", CorpusError):
        here.bring_back(result)
    here.write_consents()


@pytest.mark.slow
def test_an_erased_voice_keeps_the_result_out(trained: tuple[BundledDeployment, Path], tmp_path: Path) -> None:
    here, result = trained
    copy = Path(shutil.copytree(here.folder / "here", tmp_path / "here"))
    settings, lake = load_settings(copy / "configs" / "here.yaml"), Lake(DirectoryStore(copy / "lake"), tmp_path / "c")
    row = read_table(lake, here.deployment.snapshot.segments).to_pylist()[0]
    segments, sounds = frozenset({row["segment_id"]}), frozenset({row["audio_sha256"]})
    add_tombstones(lake, segments, sounds)
    with pytest.raises(CorpusError, match="1 segments of a voice that is erased"):
        import_bundle(lake, settings, result, here.consents(), lambda _: None)
    present = frozenset(lake.list_object_ids())
    moved = PointerRewriter(
        lake, ErasureMatcher(segments, sounds), frozenset(), settings, present, frozenset()
    ).rewrite_all()
    assert catalogue.PLAN.name("v1") in moved
    with pytest.raises(TrainingError, match="a voice in the bundle was erased since"):
        import_bundle(lake, settings, result, here.consents(), lambda _: None)


@pytest.mark.slow
def test_an_imported_version_is_published_as_if_trained_here(trained: tuple[BundledDeployment, Path]) -> None:
    here, result = trained
    record = here.bring_back(result)
    assert here.bring_back(result) == record
    assert (record.recipe, record.base_model) == ("tiny", here.deployment.record("v1").base_model)
    assert record.base_model.startswith("/")
    assert record.code[0].sources is None or record.code[0].commit is None
    assert record.device
    done = here.deployment.run("v1")
    assert done.returncode == 0, done.stderr
    assert "already published" in done.stdout
    assert here.deployment.record("v1") == record
    # The same recipe trained here gives the same weights.
    with pytest.raises(TrainingError, match="v1 is already trained; bundle the next version"):
        here.bundle("again")
    trained_here = here.deployment.run("v2")
    assert trained_here.returncode == 0, trained_here.stderr
    assert here.deployment.record("v2").tree == record.tree


@pytest.mark.slow
def test_a_first_stage_is_trained_elsewhere_too(recipe: Recipe, tmp_path: Path) -> None:
    # The same tones with other words are of other people, so the two sources differ.
    first, replay = (
        write_common_voice(
            tmp_path / name,
            [make_common_voice_row(number) for number in numbers],
            licence="CC0-1.0",
            kind="common_voice",
        ).model_dump(mode="json", exclude_none=True)
        for name, numbers in (("first", range(12)), ("replay", range(20, 24)))
    )
    staged = recipe.model_copy(update={"first_stage": FirstStage(max_steps=4)})
    here = BundledDeployment(tmp_path, staged, {"first_stage": [first], "replay": [replay]})
    folder, manifest = here.bundle()
    assert [each.name for each in manifest.stages] == ["first_stage", "version"]
    assert "licence CC0-1.0" in (folder / "README.md").read_text()
    run_bundle(folder)
    record = here.bring_back(folder)
    assert record.first_stage is not None
    assert record.first_stage.steps == 4
    assert record.identity.first_stage == record.first_stage.identity_digest
    assert sum(each.clips for each in record.general_speech) == 4
    done = here.deployment.run("v1")
    assert "already published" in done.stdout, done.stderr


def test_a_bundle_needs_consents(recipe: Recipe, tmp_path: Path) -> None:
    here = BundledDeployment(tmp_path, recipe)
    here.write_consents(withdrawn="2026-02-20")
    with pytest.raises(CorpusError, match="segments without a valid consent"):
        here.bundle()
    assert not (tmp_path / "bundle").exists()
    assert here.lake.read_pointer(catalogue.PLAN.name("v1")) is None


@pytest.mark.long
def test_the_pins_have_every_package_that_the_program_imports() -> None:
    program = "import sys, habla_ml.training.bundle.training; print(*{each.partition('.')[0] for each in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    known = packages_distributions()
    needed = {each.lower().replace("_", "-") for name in done.stdout.split() for each in known.get(name, ())}
    pinned = {each.partition("==")[0] for each in list_pins()}
    optional = {"habla-ml", "cloudpickle"}
    assert needed - pinned <= optional
    assert not [each for each in list_pins() if "+" in each]
