"""A snapshot as a Hugging Face `DatasetDict` on disk, for anybody's own training script."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from habla_ml.audio import SAMPLE_RATE, encode_flac
from habla_ml.corpus.snapshot import SPLITS, Snapshot, Split, Utterance, read_utterances
from habla_ml.errors import CorpusError, LakeError
from habla_ml.lake import Lake

if TYPE_CHECKING:
    from datasets import Dataset, Features

_BATCH: Final = 256


def export_dataset(lake: Lake, snapshot: Snapshot, folder: Path) -> Path:
    """Write `train`, `validation` and `test` with the columns `audio` and `sentence`; returns `folder`.

    `datasets.load_from_disk` opens it. Audio is stored as 16 kHz FLAC bytes; where torchcodec is not installed,
    read it with `cast_column("audio", Audio(decode=False))`. Memory holds one batch; the folder appears complete
    or not at all.

    Raises:
        CorpusError: the folder is there already, or the snapshot names audio that is not in the lake.
        LakeError: the folder cannot be written.
    """
    from datasets import Audio, DatasetDict, Features, Value

    if folder.exists():
        raise CorpusError(f"{folder} is there already; name a folder that does not exist yet")
    features = Features({"audio": Audio(sampling_rate=SAMPLE_RATE), "sentence": Value("string")})
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as unfinished:
            drafts = Path(unfinished)
            splits = {split: _split(lake, snapshot, split, features, drafts) for split in SPLITS}
            # By itself it writes no shard for an empty split, and then cannot open what it wrote.
            shards = {split: None if len(part) else 1 for split, part in splits.items()}
            DatasetDict(splits).save_to_disk(drafts / "dataset", num_shards=shards)
            (drafts / "dataset").rename(folder)
    except OSError as error:
        raise LakeError(
            f"dataset {folder} cannot be written: {error.strerror or error}; free some space"
        ) from error
    return folder


def _split(lake: Lake, snapshot: Snapshot, split: Split, features: Features, drafts: Path) -> Dataset:
    from datasets import Dataset
    from datasets.arrow_writer import ArrowWriter

    path = drafts / f"{split}.arrow"
    utterances = read_utterances(lake, snapshot, split)
    # Whole tables, not examples: encoding an example of Audio would need torchcodec.
    with ArrowWriter(path=str(path), features=features) as writer:
        for batch in _batches(utterances):
            writer.write_table(_table(batch, features.arrow_schema))
        if not snapshot.counts[split]:
            writer.write_table(features.arrow_schema.empty_table())
        writer.finalize()
    return Dataset.from_file(str(path))


def _batches(utterances: Iterator[Utterance]) -> Iterator[list[Utterance]]:
    while batch := list(islice(utterances, _BATCH)):
        yield batch


def _table(batch: list[Utterance], schema: pa.Schema) -> pa.Table:
    audio = [{"bytes": encode_flac(each.audio), "path": f"{each.segment_id}.flac"} for each in batch]
    return pa.Table.from_pydict({"audio": audio, "sentence": [each.sentence for each in batch]}, schema=schema)
