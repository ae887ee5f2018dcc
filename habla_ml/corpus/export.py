"""Export of a snapshot to disk for other training scripts: for `datasets`, NeMo and Lhotse, or plain files.

The sealed share is never exported: a training or an evaluation outside would use it up.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.audio import SAMPLE_RATE, encode_flac
from habla_ml.corpus.snapshot import OPEN_SPLITS, OpenSplit, Snapshot, TranscribedSegment, Utterance, read_utterances
from habla_ml.errors import CorpusError, LakeError
from habla_ml.lake import Lake
from habla_ml.lake.table import arrow_schema

if TYPE_CHECKING:
    from datasets import Dataset, Features

_EXPORT_BATCH_ROWS: Final = 256
_SHARD_ROWS: Final = 8192
_SCHEMA: Final = pa.schema(
    [
        pa.field("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        *arrow_schema(
            TranscribedSegment,
            without=("loudness_dbfs", "audio_sha256", "is_seen_speaker", "is_seen_sentence", "source"),
            order=("sentence", "segment_id", "session_id", "speaker", "role"),
        ),
    ]
)
_DTYPES: Final = {pa.string(): "string", pa.float64(): "float64", pa.bool_(): "bool"}
_COLUMNS: Final = {field.name: _DTYPES[field.type] for field in list(_SCHEMA)[1:]}
"""Name → type in `datasets`, of all columns but the audio."""
# `datasets` reads from this metadata that the struct is audio.
_FEATURES: Final = {
    "info": {
        "features": {
            "audio": {"sampling_rate": SAMPLE_RATE, "_type": "Audio"},
            **{name: {"dtype": dtype, "_type": "Value"} for name, dtype in _COLUMNS.items()},
        }
    }
}


def export_dataset(lake: Lake, snapshot: Snapshot, folder: Path, *, as_arrays: bool = False) -> Path:
    """Write `train`, `validation` and `test` with audio, sentence, speaker and the other columns; returns `folder`.

    `datasets.load_from_disk` opens it. Audio is 16 kHz FLAC bytes, which `datasets` decodes with torchcodec. With
    `as_arrays` it is a list of float32 samples, eight times as large, which needs no decoder. Memory holds one batch; the
    folder appears complete or not at all.

    Raises:
        CorpusError: The folder exists, or the snapshot names audio that is not in the lake.
        LakeError: The folder cannot be written.
    """
    from datasets import Audio, DatasetDict, Features, List, Value

    audio = List(Value("float32")) if as_arrays else Audio(sampling_rate=SAMPLE_RATE)
    features = Features({"audio": audio, **{name: Value(dtype) for name, dtype in _COLUMNS.items()}})
    with _create_folder(folder) as drafts:
        splits = {split: _write_split(lake, snapshot, split, features, drafts) for split in OPEN_SPLITS}
        # By default `datasets` writes no shard for an empty split, and then cannot open its own output.
        shards = {split: None if len(part) else 1 for split, part in splits.items()}
        DatasetDict(splits).save_to_disk(drafts / "export", num_shards=shards)
    return folder


def export_parquet(lake: Lake, snapshot: Snapshot, folder: Path) -> Path:
    """Write `data/<split>-NNNNN.parquet` with FLAC bytes, sentence and speaker; returns `folder`.

    `datasets.load_dataset("parquet", data_dir=…)` and every parquet reader open it. `datasets` opens no file without
    rows, so an empty split has none. Memory holds one batch; the folder appears complete or not at all.

    Raises:
        CorpusError: The folder exists, or the snapshot names audio that is not in the lake.
        LakeError: The folder cannot be written.
    """
    schema = _SCHEMA.with_metadata({"huggingface": json.dumps(_FEATURES)})
    with _create_folder(folder) as drafts:
        data = drafts / "export" / "data"
        data.mkdir(parents=True)
        for split in OPEN_SPLITS:
            utterances = read_utterances(lake, snapshot, split)
            shards = count_shards(snapshot.counts[split])
            write_shards(utterances, data, split, shards, lambda batch: _make_table(batch, schema), schema)
    return folder


def count_shards(rows: int) -> int:
    """Return how many parquet files these rows take."""
    return -(-rows // _SHARD_ROWS)


def write_shards(
    utterances: Iterator[Utterance],
    folder: Path,
    split: OpenSplit,
    shards: int,
    make_table: Callable[[list[Utterance]], pa.Table],
    schema: pa.Schema,
) -> list[Path]:
    """Write `<split>-NNNNN.parquet` files; the same utterances give the same bytes. Memory holds one batch."""
    paths = [folder / f"{split}-{number:05d}.parquet" for number in range(shards)]
    for path in paths:
        with pq.ParquetWriter(path, schema) as writer:
            for batch in _group_utterances(islice(utterances, _SHARD_ROWS)):
                writer.write_table(make_table(batch))
    return paths


def export_nemo(lake: Lake, snapshot: Snapshot, folder: Path) -> Path:
    """Write `<split>_manifest.json` (NVIDIA NeMo's format, one JSON object per line) and `audio/<split>/*.flac`.

    Paths are relative to the manifest. The folder appears complete or not at all.

    Raises:
        CorpusError: The folder exists, or the snapshot names audio that is not in the lake.
        LakeError: The folder cannot be written.
    """
    with _create_folder(folder) as drafts:
        root = drafts / "export"
        for split in OPEN_SPLITS:
            (root / "audio" / split).mkdir(parents=True)
            with (root / f"{split}_manifest.json").open("w", encoding="utf-8") as manifest:
                for each in read_utterances(lake, snapshot, split):
                    path = f"audio/{split}/{each.segment_id}.flac"
                    (root / path).write_bytes(encode_flac(each.audio))
                    line = {
                        "audio_filepath": path,
                        "duration": each.duration_s,
                        "text": each.sentence,
                        "speaker": each.speaker,
                        "role": each.role,
                        "session": each.session_id,
                        "lang": "es",
                    }
                    manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
    return folder


def export_audio_folder(lake: Lake, snapshot: Snapshot, folder: Path) -> Path:
    """Write `<split>/<segment>.flac` and `<split>/metadata.csv`; returns `folder`.

    `datasets.load_dataset("audiofolder", data_dir=…)` opens it where torchcodec is installed. The folder appears complete or
    not at all.

    Raises:
        CorpusError: The folder exists, or the snapshot names audio that is not in the lake.
        LakeError: The folder cannot be written.
    """
    with _create_folder(folder) as drafts:
        for split in (each for each in OPEN_SPLITS if snapshot.counts[each]):
            part = drafts / "export" / split
            part.mkdir(parents=True)
            with (part / "metadata.csv").open("w", encoding="utf-8", newline="") as table:
                writer = csv.writer(table, lineterminator="\n")
                writer.writerow(["file_name", *_COLUMNS])
                for each in read_utterances(lake, snapshot, split):
                    name = f"{each.segment_id}.flac"
                    (part / name).write_bytes(encode_flac(each.audio))
                    writer.writerow([name, *(getattr(each, column) for column in _COLUMNS)])
    return folder


@contextmanager
def _create_folder(folder: Path) -> Iterator[Path]:
    """Yield a scratch folder; its subfolder `export` becomes `folder` once it is complete."""
    if folder.exists():
        raise CorpusError(f"{folder} exists already; name a folder that does not exist yet")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as unfinished:
            yield Path(unfinished)
            (Path(unfinished) / "export").rename(folder)
    except OSError as error:
        raise LakeError(
            f"dataset {folder} cannot be written: {error.strerror or error}; check permissions and free space"
        ) from error


def _group_utterances(utterances: Iterator[Utterance]) -> Iterator[list[Utterance]]:
    return iter(lambda: list(islice(utterances, _EXPORT_BATCH_ROWS)), [])


def _make_table(batch: list[Utterance], schema: pa.Schema) -> pa.Table:
    """Return utterances as a table whose first column is `audio`: FLAC bytes, or samples where the schema has a list."""
    audio: list[Any]
    if pa.types.is_list(schema.field("audio").type):
        audio = [each.audio for each in batch]
    else:
        audio = [{"bytes": encode_flac(each.audio), "path": f"{each.segment_id}.flac"} for each in batch]
    others = {name: [getattr(each, name) for each in batch] for name in schema.names[1:]}
    return pa.Table.from_pydict({"audio": audio, **others}, schema=schema)


def _write_split(lake: Lake, snapshot: Snapshot, split: OpenSplit, features: Features, drafts: Path) -> Dataset:
    from datasets import Dataset
    from datasets.arrow_writer import ArrowWriter

    path = drafts / f"{split}.arrow"
    # Write whole tables: encoding single examples of Audio needs torchcodec, and arrays as lists would be slow.
    with ArrowWriter(path=str(path), features=features) as writer:
        for batch in _group_utterances(read_utterances(lake, snapshot, split)):
            writer.write_table(_make_table(batch, features.arrow_schema))
        if not snapshot.counts[split]:
            writer.write_table(features.arrow_schema.empty_table())
        writer.finalize()
    return Dataset.from_file(str(path))
