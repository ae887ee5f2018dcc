import shutil
from pathlib import Path

import pytest

from habla_ml.audio import decode_wav
from habla_ml.audio.audio_decoder import detect_container
from habla_ml.errors import ExportError, InputError, TrainingError
from habla_ml.export.prepare import prepare_checkpoint
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.base_model import BASE_MODEL

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 151060136\n"
COMMIT = "973afd24965f72e36ca33b3055d56a652f456b4d"


def make_recipe_with_base(recipe: Recipe, base_model: str, revision: str | None = None) -> Recipe:
    return recipe.model_validate(recipe.model_dump() | {"base_model": base_model, "revision": revision})


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, and no way to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_the_digest_of_a_folder_depends_on_its_content_and_not_on_its_path(
    recipe: Recipe, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_base, tmp_path / "copy")
    here = resolve_base_model(make_recipe_with_base(recipe, str(tiny_base)))
    assert resolve_base_model(make_recipe_with_base(recipe, str(tmp_path / "copy"))).digest == here.digest
    (tmp_path / "copy" / "config.json").write_text("{}")
    assert resolve_base_model(make_recipe_with_base(recipe, str(tmp_path / "copy"))).digest != here.digest


def test_a_base_model_of_the_package_is_found_without_an_absolute_path(recipe: Recipe) -> None:
    assert resolve_base_model(make_recipe_with_base(recipe, "package:demo/base_model")).folder == BASE_MODEL


def test_a_pointer_of_git_lfs_is_no_model(recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(BASE_MODEL, tmp_path / "clone")
    (tmp_path / "clone" / "model.safetensors").write_bytes(LFS_POINTER)
    with pytest.raises(TrainingError, match=r"model\.safetensors is a pointer of Git LFS, .*run `git lfs pull`"):
        resolve_base_model(make_recipe_with_base(recipe, str(tmp_path / "clone")))
    with pytest.raises(ExportError, match=r"model\.safetensors is a pointer of Git LFS"):
        prepare_checkpoint(tmp_path / "clone", tmp_path / "prepared", lambda _: None)
    for decode in (decode_wav, lambda data, _: detect_container(data)):
        with pytest.raises(InputError, match=r"is a pointer of Git LFS"):
            decode(LFS_POINTER, 30.0)


def test_a_folder_that_is_missing_or_lacks_a_file_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"is not a folder; correct base_model"):
        resolve_base_model(make_recipe_with_base(recipe, str(tmp_path / "nowhere")))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        TrainingError,
        match=r"generation_config.json is missing; model.safetensors is missing; tokenizer.json is missing; run `habla-ml",
    ):
        resolve_base_model(make_recipe_with_base(recipe, str(tmp_path)))


def test_a_hub_model_comes_from_the_cache_at_its_pinned_commit(
    recipe: Recipe, tiny_base: Path, hub_cache: Path
) -> None:
    snapshot = hub_cache / "models--openai--whisper-small" / "snapshots" / COMMIT
    shutil.copytree(tiny_base, snapshot)
    found = resolve_base_model(make_recipe_with_base(recipe, "openai/whisper-small", COMMIT))
    assert found.folder == snapshot
    assert found.revision == COMMIT
    with pytest.raises(TrainingError, match=r"revision f{40} cannot be downloaded"):
        resolve_base_model(make_recipe_with_base(recipe, "openai/whisper-small", "f" * 40))


def test_an_unavailable_hub_model_is_refused_with_the_next_step(recipe: Recipe, hub_cache: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"openai/whisper-small.*connect to the network once, or copy the model to a folder"
    ):
        resolve_base_model(make_recipe_with_base(recipe, "openai/whisper-small", COMMIT))
