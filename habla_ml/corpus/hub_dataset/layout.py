"""The files of a pushed dataset: parquet with FLAC, a record of its origin, and the card.

    README.md                   the card, with the splits for `datasets`
    habla_dataset.json          snapshot, conventions, code, and each data file with its sha256
    data/<split>-NNNNN.parquet  the open splits

No name of a speaker, a session or a file of the lake is in them, and the audio is encoded again, without its tags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from habla_ml.audio import SAMPLE_RATE, encode_flac
from habla_ml.code_identity import CodeIdentity, read_code_identity
from habla_ml.corpus.export import count_shards, write_shards
from habla_ml.corpus.hub_dataset.card import CARD_FILE, build_dataset_card
from habla_ml.corpus.hub_dataset.pseudonyms import Pseudonyms, make_pseudonyms
from habla_ml.corpus.snapshot import OPEN_SPLITS, Snapshot, Utterance, read_utterances
from habla_ml.lake import Lake, compute_sha256, to_canonical_json

RECORD_FILE: Final = "habla_dataset.json"
DATA_FOLDER: Final = "data"
_VALUES: Final[Mapping[str, pa.DataType]] = {
    "sentence": pa.string(),
    "speaker": pa.string(),
    "session": pa.string(),
    "duration_s": pa.float64(),
    "audio_sha256": pa.string(),
}
# `datasets` reads the features here. With `decode`, each access to a row needs torchcodec.
_FEATURES: Final = {
    "audio": {"sampling_rate": SAMPLE_RATE, "decode": False, "_type": "Audio"},
    **{
        name: {"dtype": "float64" if kind == pa.float64() else "string", "_type": "Value"}
        for name, kind in _VALUES.items()
    },
}
DATASET_SCHEMA: Final = pa.schema(
    [("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), *_VALUES.items()],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


class DataFile(BaseModel):
    """A parquet file of the dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    size_bytes: int
    sha256: str


class DatasetRecord(BaseModel):
    """Where a pushed dataset comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["habla_ml.hub_dataset/1"] = "habla_ml.hub_dataset/1"
    tag: str
    snapshot: str
    """Id of the snapshot in the lake."""
    conventions: str
    conventions_digest: str
    licence: str
    hours: dict[str, float]
    """By open split; so are the counts of clips."""
    counts: dict[str, int]
    code: CodeIdentity
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class DatasetFiles:
    """A dataset that is ready to be sent."""

    record: DatasetRecord
    data: Mapping[str, Path]
    """Path in the repository → parquet file here."""
    own: Mapping[str, bytes]
    """Card and record."""


def write_dataset_files(lake: Lake, snapshot: Snapshot, tag: str, licence: str, folder: Path) -> DatasetFiles:
    """Write the open splits of a snapshot to an existing folder; memory holds one batch of clips.

    `datasets` cannot open a parquet file without rows, so an empty split has no file and is not on the card.

    Raises:
        CorpusError: The recordings lack audio that the snapshot names.
        OSError: The folder cannot be written.
    """
    pseudonyms = make_pseudonyms(lake, snapshot)
    paths: list[Path] = []
    for split in OPEN_SPLITS:
        utterances = read_utterances(lake, snapshot, split)
        shards = count_shards(snapshot.counts[split])
        paths += write_shards(
            utterances, folder, split, shards, lambda batch: _make_table(batch, pseudonyms), DATASET_SCHEMA
        )
    data = {f"{DATA_FOLDER}/{path.name}": path for path in paths}
    record = DatasetRecord(
        tag=tag,
        snapshot=snapshot.id,
        conventions=snapshot.conventions,
        conventions_digest=snapshot.conventions_digest,
        licence=licence,
        hours={split: snapshot.hours[split] for split in OPEN_SPLITS},
        counts={split: snapshot.counts[split] for split in OPEN_SPLITS},
        code=read_code_identity(),
        files=tuple(
            DataFile(path=path, size_bytes=file.stat().st_size, sha256=compute_sha256(file))
            for path, file in data.items()
        ),
    )
    card = build_dataset_card(snapshot, tag, licence, str(record.code))
    own = {CARD_FILE: card.encode(), RECORD_FILE: to_canonical_json(record.model_dump(mode="json"))}
    return DatasetFiles(record, data, own)


def _make_table(batch: list[Utterance], pseudonyms: Pseudonyms) -> pa.Table:
    columns = {
        "audio": [{"bytes": encode_flac(each.audio), "path": f"{each.audio_sha256[:16]}.flac"} for each in batch],
        "sentence": [each.sentence for each in batch],
        "speaker": [pseudonyms.name_speaker(each.session_id, each.speaker, each.role) for each in batch],
        "session": [pseudonyms.name_session(each.session_id) for each in batch],
        "duration_s": [each.duration_s for each in batch],
        "audio_sha256": [each.audio_sha256 for each in batch],
    }
    return pa.Table.from_pydict(columns, schema=DATASET_SCHEMA)
