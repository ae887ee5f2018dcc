"""What was exported once is not exported again; what changed is."""

from pathlib import Path

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.publish import checkout_artefact, get_checkpoint_tree, publish_coreml, publish_ctranslate2
from habla_ml.lake import DirectoryStore, Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def test_a_conversion_is_published_once_for_a_checkpoint_and_a_quantisation(lake, tiny_checkpoint, tmp_path):
    messages: list[str] = []

    def publish(identity: str, quantisation: str):
        return publish_ctranslate2(
            lake,
            "models/v1/ctranslate2",
            identity,
            tiny_checkpoint,
            quantisation,
            tmp_path / "work",
            messages.append,
        )

    first = publish("one", "int8")
    assert messages
    assert (first.checkpoint, first.quantisation) == ("one", "int8")
    folder = checkout_artefact(lake, first.tree, tmp_path / "work")
    assert first.size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    messages.clear()
    assert publish("one", "int8") == first
    assert messages == []
    assert publish("one", "float32").tree != first.tree
    assert publish("two", "float32").checkpoint == "two"
    assert messages
    pointer = lake.read_pointer("models/v1/ctranslate2")
    assert (pointer.value["checkpoint"], pointer.value["quantisation"]) == ("two", "float32")
    leftovers = [path.name for path in (tmp_path / "work").iterdir() if path.name.startswith("ctranslate2-")]
    assert leftovers == []


def test_a_version_without_checkpoint_is_named_with_the_step_that_makes_it(lake, tmp_path):
    with pytest.raises(ExportError, match=r"v7 has no checkpoint.*materialise `fine_tuned_checkpoint`"):
        get_checkpoint_tree(lake, "v7")
    with pytest.raises(ExportError, match="v7 has no checkpoint"):
        publish_coreml(lake, "v7", {}, tmp_path, 60)
