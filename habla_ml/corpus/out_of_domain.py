"""Speech from outside the classroom, in a table: what a model must not forget."""

from __future__ import annotations

from pathlib import Path

from habla_ml.annotation import read_table, read_table_clips, table_file
from habla_ml.audio import decode_flac
from habla_ml.corpus.build import UNKNOWN_SPEAKER
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import CorpusError
from habla_ml.recordings import SetAside


def read_out_of_domain(path: Path, conventions: Conventions, longest_s: float) -> list[Utterance]:
    """The clips of a table (or of the folder that holds it), their text under the conventions, in its order.

    A test set must be whole: where one row cannot be used, none is.

    Raises:
        InputError: the table cannot be read.
        CorpusError: rows that cannot be used, or none at all; names the first few.
    """
    table = table_file(path)
    rows, refused = read_table(table)
    utterances = []
    for clip in read_table_clips(table, rows, "", longest_s):
        if isinstance(clip, SetAside):
            refused.append(clip)
            continue
        reading = conventions.read(clip.row.text)
        if reading.problem:
            refused.append(
                SetAside(clip.segment.session_id, clip.row.label, f"has text that is {reading.problem}")
            )
            continue
        utterances.append(
            Utterance(
                segment_id=clip.segment.segment_id,
                session_id=clip.segment.session_id,
                speaker=clip.segment.speaker or UNKNOWN_SPEAKER,
                sentence=reading.sentence,
                duration_s=clip.segment.duration_s,
                loudness_dbfs=clip.segment.loudness_dbfs,
                audio_sha256=clip.segment.audio_sha256,
                audio=decode_flac(clip.segment.audio),
            )
        )
    if refused or not utterances:
        named = "; ".join(f"{each.file} {each.reason}" for each in refused[:3]) or "it has no rows"
        raise CorpusError(
            f"out-of-domain set {table}: {len(refused)} rows cannot be used: {named}; mend or remove them"
        )
    return utterances
