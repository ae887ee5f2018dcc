"""The cache of hypotheses in the lake: what was decoded once is never decoded again.

One immutable parquet table for each artefact and set of options, behind the pointer
`hypotheses/<artefact>/<options>`; rows are keyed by the sha256 of the audio. Two processes that decode at once
merge their rows by compare-and-set.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.evaluation.transcribe import DecodingOptions, Hypothesis, Transcriber
from habla_ml.lake import Lake, Pointer

if TYPE_CHECKING:
    import pyarrow as pa

SAVE_EVERY = 256
"""Clips decoded between two saves: what a kill can lose."""

Progress = Callable[[int, int], None]
"""Told after every batch: utterances done so far, and how many of them were decoded now."""

_CLIPS_AT_ONCE = 16
_ATTEMPTS = 20


def transcribe_cached(
    lake: Lake,
    artefact_digest: str,
    transcriber: Transcriber,
    utterances: Iterable[Utterance],
    progress: Progress | None = None,
    save_every: int = SAVE_EVERY,
) -> list[Hypothesis]:
    """One hypothesis for each utterance, in order; decodes only audio that this artefact has not heard yet.

    Memory holds the hypotheses and the audio of one batch, whatever the number of utterances.

    Raises:
        EvaluationError: The engine failed; what was decoded before is saved at every `save_every` clips.
        LakeError: The cache cannot be read or written.
    """
    at_once = transcriber.options.batch_size or _CLIPS_AT_ONCE
    known = read_hypotheses(lake, artefact_digest, transcriber.options)
    fresh: dict[str, Hypothesis] = {}
    waiting: dict[str, Utterance] = {}
    order: list[str] = []
    decoded = 0

    def decode_waiting() -> None:
        nonlocal decoded
        fresh.update(zip(waiting, transcriber.transcribe(list(waiting.values())), strict=True))
        known.update(fresh)
        decoded += len(waiting)
        waiting.clear()
        if len(fresh) >= save_every:
            save()

    def save() -> None:
        if fresh:
            save_hypotheses(lake, artefact_digest, transcriber.options, fresh)
            fresh.clear()

    for utterance in utterances:
        order.append(utterance.audio_sha256)
        if utterance.audio_sha256 not in known:
            waiting[utterance.audio_sha256] = utterance
        if len(waiting) == at_once:
            decode_waiting()
            if progress:
                progress(len(order), decoded)
    if waiting:
        decode_waiting()
    save()
    if progress:
        progress(len(order), decoded)
    return [known[audio_sha256] for audio_sha256 in order]


def read_hypotheses(lake: Lake, artefact_digest: str, options: DecodingOptions) -> dict[str, Hypothesis]:
    """Everything this artefact has decoded under these options, by the sha256 of the audio."""
    return _read(lake, lake.pointer(_pointer_name(artefact_digest, options)), artefact_digest)


def save_hypotheses(
    lake: Lake, artefact_digest: str, options: DecodingOptions, fresh: Mapping[str, Hypothesis]
) -> None:
    """Merge `fresh` into the cache; a row that is there already stays as it is."""
    name = _pointer_name(artefact_digest, options)
    for _ in range(_ATTEMPTS):
        seen = lake.pointer(name)
        rows = {**fresh, **_read(lake, seen, artefact_digest)}
        value = {
            "artefact": artefact_digest,
            "options": options.model_dump(mode="json"),
            "hypotheses": lake.put_bytes(_to_parquet(rows)),
            "count": len(rows),
        }
        try:
            lake.move_pointer(name, value, seen)
        except PointerMovedError:
            continue
        return
    raise LakeError(
        f"{name} was moved by others {_ATTEMPTS} times in a row; are several evaluations of one model running? "
        "Run this one again"
    )


def _pointer_name(artefact_digest: str, options: DecodingOptions) -> str:
    return f"hypotheses/{artefact_digest[:16]}/{options.digest()[:16]}"


def _read(lake: Lake, pointer: Pointer | None, artefact_digest: str) -> dict[str, Hypothesis]:
    import pyarrow.parquet as pq

    if pointer is None:
        return {}
    if pointer.value["artefact"] != artefact_digest:
        raise LakeError(
            f"{pointer.name} holds hypotheses of artefact {pointer.value['artefact']}, not of {artefact_digest}; "
            "their digests share 16 digits: move the pointer away and evaluate again"
        )
    table = pq.read_table(io.BytesIO(lake.get_bytes(pointer.value["hypotheses"])))
    return {row["audio_sha256"]: Hypothesis(**row) for row in table.to_pylist()}


def _to_parquet(rows: Mapping[str, Hypothesis]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(rows[key]) for key in sorted(rows)], schema=_schema())
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("audio_sha256", pa.string()),
            ("text", pa.string()),
            ("decode_s", pa.float64()),
            ("duration_s", pa.float64()),
            ("failure", pa.string()),
            ("avg_logprob", pa.float64()),
            ("no_speech_prob", pa.float64()),
        ]
    )
