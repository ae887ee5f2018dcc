"""The clips of a bundle: tables with nothing but FLAC, and the index of a run over them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from habla_ml.audio import encode_flac, pcm_sha256
from habla_ml.lake import Lake
from habla_ml.recordings.segments import ROW_GROUP_SIZE
from habla_ml.training.clip_shards import ClipPlace, PlaceWriter
from habla_ml.training.clips import SAMPLES_FILE, ClipStore, write_clips, write_index
from habla_ml.training.run import TrainingData
from habla_ml.training.target_forms import TargetMix
from habla_ml.training.targets import TargetEncoder

_TABLE_CLIPS: Final = 8 * ROW_GROUP_SIZE


def bundle_clips(
    data: TrainingData, targets: TargetEncoder, mix: TargetMix, store: Lake, folder: Path, scratch: Path
) -> None:
    """Write the clips of a run to `store`, and its indices to the folders `train`, `validation` and `guards` of `folder`."""
    parts = {
        "train": write_clips(data.train, targets, scratch / "train", data.non_speech, mix, data.lake),
        "validation": write_clips(data.validation, targets, scratch / "validation", lake=data.lake),
    }
    if (guards := data.guards) is not None:
        parts["guards"] = write_clips(guards.general, targets, scratch / "guards", guards.non_speech)
    for name, clips in parts.items():
        _write_part(clips, store, folder / name, scratch)
    shutil.rmtree(scratch)


def _write_part(clips: ClipStore, store: Lake, folder: Path, scratch: Path) -> None:
    folder.mkdir(parents=True)
    places = PlaceWriter()
    for first in range(0, len(clips), _TABLE_CLIPS):
        for place in _write_table(clips, range(first, min(first + _TABLE_CLIPS, len(clips))), store, scratch):
            places.add(place)
    import numpy as np

    write_index(
        folder,
        places,
        n_speech=np.int64(clips.n_speech),
        n_classroom=np.int64(clips.n_classroom),
        starts=clips.starts,
        labels=clips.labels,
        label_starts=clips.label_starts,
        skipped_reasons=np.array(list(clips.skipped), np.str_),
        skipped_counts=np.array(list(clips.skipped.values()), np.int64),
        **({} if clips.forms is None else clips.forms.to_arrays()),
    )
    (folder / SAMPLES_FILE).touch()


def _write_table(clips: ClipStore, numbers: range, store: Lake, scratch: Path) -> Iterator[ClipPlace]:
    """Write one table; yield the place of each clip."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, schema, sounds = scratch / "table.parquet", pa.schema([("audio", pa.binary())]), []
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False, write_statistics=False) as writer:
        for first in numbers[::ROW_GROUP_SIZE]:
            audio = [clips.audio(each) for each in range(first, min(first + ROW_GROUP_SIZE, numbers.stop))]
            sounds += [pcm_sha256(each) for each in audio]
            writer.write_table(pa.table({"audio": [encode_flac(each) for each in audio]}, schema=schema))
    parquet = store.adopt_file(path)
    path.unlink()
    for at, sound in enumerate(sounds):
        yield ClipPlace(parquet, at // ROW_GROUP_SIZE, at % ROW_GROUP_SIZE, sound)
