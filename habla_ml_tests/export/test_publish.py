"""An input is converted once; another checkpoint or quantisation is converted again."""

from dataclasses import replace
from pathlib import Path

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.coreml.archive import COREML
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml.export.exporter import ConvertedModel, ExportOptions, Progress, PublishedExport
from habla_ml.export.publish import (
    SourceCheckpoint,
    checkout_artefact,
    find_version_checkpoint,
    parse_pointer,
    publish_export,
    read_export,
)
from habla_ml.lake import DirectoryStore, Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def test_a_conversion_is_published_once_for_a_checkpoint_and_a_quantisation(lake, tiny_checkpoint, tmp_path):
    messages: list[str] = []

    def publish(identity: str, quantisation: str) -> PublishedExport:
        return publish_export(
            lake,
            "models/v1/ctranslate2",
            CTRANSLATE2,
            SourceCheckpoint(identity, lambda: tiny_checkpoint),
            ExportOptions(quantisation),
            tmp_path / "work",
            messages.append,
        )

    first = publish("one", "int8")
    assert messages
    assert read_export(lake, "v1", CTRANSLATE2) == first
    folder = checkout_artefact(lake, first.artefact, tmp_path / "work")
    assert first.size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert lake.read_pointer("models/v1/ctranslate2").value == {
        "tree": first.artefact,
        "checkpoint": "one",
        "quantisation": "int8",
        "size_bytes": first.size_bytes,
        "mended": ["preprocessor_config.json was missing: written from processor_config.json"],
    }
    messages.clear()
    assert publish("one", "int8") == first
    assert messages == []
    full = publish("one", "float32")
    assert full.size_bytes > first.size_bytes
    assert publish("two", "float32").artefact == full.artefact
    assert messages
    assert read_export(lake, "v1", CTRANSLATE2).checkpoint == "two"


def test_another_target_is_converted_again(lake, tmp_path):
    converted: list[str | None] = []

    def convert(checkpoint: Path, scratch: Path, options: ExportOptions, progress: Progress) -> ConvertedModel:
        converted.append(options.target)
        (scratch / "archive.zip").write_text(str(options.target))
        return ConvertedModel(scratch / "archive.zip", ())

    exporter = replace(COREML, convert=convert)
    source = SourceCheckpoint("one", lambda: tmp_path)

    def publish(target: str | None) -> PublishedExport:
        options = ExportOptions("float16", target=target)
        return publish_export(lake, "models/v1/coreml", exporter, source, options, tmp_path / "work", print)

    assert publish(None).target == publish("iOS16").target == "iOS16"
    newer = publish("iOS18")
    assert publish("iOS18") == newer == read_export(lake, "v1", exporter)
    assert converted == [None, "iOS18"]


@pytest.mark.long
def test_a_failed_conversion_leaves_no_files(lake, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    source = SourceCheckpoint("one", lambda: tmp_path / "adapter")
    with pytest.raises(ExportError, match="Merge the adapter"):
        publish_export(lake, "models/v1/coreml", COREML, source, ExportOptions("float16"), tmp_path / "work", print)
    assert list((tmp_path / "work" / "scratch").iterdir()) == []
    assert lake.read_pointer("models/v1/coreml") is None


def test_pointers_of_earlier_releases_are_readable():
    value = {
        "archive": "a" * 64,
        "checkpoint": "c" * 64,
        "model_format": "mlpackage",
        "size_bytes": 7,
        "vocab_size": 51865,
        "has_whisperkit_vocab_size": True,
        "parity": {"encoder_psnr_db": 71.6},
        "files": [],
        "mended": [],
    }
    export = parse_pointer(COREML, value)
    assert (export.artefact, export.quantisation, export.size_bytes) == ("a" * 64, "float16", 7)
    assert export.target == "iOS16"
    assert export.details["parity"] == {"encoder_psnr_db": 71.6}
    with pytest.raises(ExportError, match="Core ML archive has no 'size_bytes'"):
        parse_pointer(COREML, {key: each for key, each in value.items() if key != "size_bytes"})


def test_a_version_without_checkpoint_is_named_with_the_asset_that_makes_it(lake, tmp_path):
    with pytest.raises(ExportError, match=r"v7 has no checkpoint.*materialise `fine_tuned_checkpoint`"):
        find_version_checkpoint(lake, "v7", tmp_path)
