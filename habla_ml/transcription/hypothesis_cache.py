"""The cache of hypotheses in the lake: what was decoded once is never decoded again.

One immutable parquet table for each artefact and set of options, behind the pointer
`hypotheses/<artefact>/<options>`; rows are keyed by the sha256 of the audio. An empty answer, a timeout and a crash
are rows as any other. Two processes that decode at once merge their rows by compare-and-set.

Options with a field more have another digest, so what older code decoded lies behind pointers that nobody asks for
any more: such a table is neither read nor changed, and its clips are decoded again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord, Transcriber, Usage
from habla_ml.transcription.options import DecodingOptions, HostedOptions

if TYPE_CHECKING:
    import pyarrow as pa

CLIPS_PER_SAVE = 256
"""Clips decoded between two saves: what a kill can lose."""

DecodingProgress = Callable[[int, int], None]
"""Told after every batch: clips done so far, and how many of them were decoded now."""

# The last of them leave workers idle, so many; each may last 30 s (2 MB), so not too many.
_MAX_CLIPS_PER_BATCH = 64
_MAX_SAVE_ATTEMPTS = 20


def transcribe_cached(
    lake: Lake,
    artefact_digest: str,
    transcriber: Transcriber,
    clips: Iterable[Clip],
    progress: DecodingProgress | None = None,
    save_every: int = CLIPS_PER_SAVE,
) -> list[Hypothesis]:
    """One hypothesis for each clip, in order; decodes only audio that this artefact has not heard yet.

    Memory holds the hypotheses and the audio of one batch, whatever the number of clips.

    Raises:
        EvaluationError: The engine failed; what was decoded before is saved at every `save_every` clips.
        LakeError: The cache cannot be read or written.
    """
    options = transcriber.options
    batch_size = options.batch_size if isinstance(options, DecodingOptions) else None
    at_once = min(save_every, max(_MAX_CLIPS_PER_BATCH, 2 * (batch_size or 1)))
    known = read_hypotheses(lake, artefact_digest, options)
    counted = transcriber.usage
    fresh: dict[str, Hypothesis] = {}
    waiting: dict[str, Clip] = {}
    order: list[str] = []
    decoded = 0

    def decode_waiting() -> None:
        nonlocal decoded
        heard = dict(zip(waiting, transcriber.transcribe(list(waiting.values())), strict=True))
        known.update(heard)
        # A service that is down says nothing about the clip, nor does who stood in; it is asked again the next time.
        answered = {
            key: each for key, each in heard.items() if each.failure != "service" and each.fallback_engine is None
        }
        fresh.update(answered)
        decoded += len(waiting)
        waiting.clear()
        if len(fresh) >= save_every:
            save()

    def save() -> None:
        nonlocal counted
        if fresh:
            used = transcriber.usage
            save_hypotheses(lake, artefact_digest, transcriber.options, fresh, used.since(counted))
            counted = used
            fresh.clear()

    for clip in clips:
        order.append(clip.audio_sha256)
        if clip.audio_sha256 not in known:
            waiting[clip.audio_sha256] = clip
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


def read_hypotheses(
    lake: Lake, artefact_digest: str, options: DecodingOptions | HostedOptions
) -> dict[str, Hypothesis]:
    """Everything this artefact has decoded under these options, by the sha256 of the audio."""
    return _read_rows(lake, lake.read_pointer(_make_pointer_name(artefact_digest, options)), artefact_digest)


def read_usage(lake: Lake, artefact_digest: str, options: DecodingOptions | HostedOptions) -> Usage:
    """What decoding took, over everything that this artefact has decoded under these options."""
    pointer = lake.read_pointer(_make_pointer_name(artefact_digest, options))
    return Usage() if pointer is None else Usage(**pointer.value["usage"])


def save_hypotheses(
    lake: Lake,
    artefact_digest: str,
    options: DecodingOptions | HostedOptions,
    fresh: Mapping[str, Hypothesis],
    used: Usage | None = None,
) -> None:
    """Merge `fresh`, and what decoding it took, into the cache; a row that is there already stays as it is."""
    name = _make_pointer_name(artefact_digest, options)
    for _ in range(_MAX_SAVE_ATTEMPTS):
        seen = lake.read_pointer(name)
        rows = {**fresh, **_read_rows(lake, seen, artefact_digest)}
        before = Usage() if seen is None else Usage(**seen.value["usage"])
        value = {
            "artefact": artefact_digest,
            "options": options.model_dump(mode="json"),
            "hypotheses": lake.put_bytes(_to_parquet(rows)),
            "count": len(rows),
            "usage": asdict(before + (used or Usage())),
        }
        try:
            lake.move_pointer(name, value, seen)
        except PointerMovedError:
            continue
        return
    raise LakeError(
        f"{name} was moved by others {_MAX_SAVE_ATTEMPTS} times in a row; are several evaluations of one model running? "
        "Run this one again"
    )


def _make_pointer_name(artefact_digest: str, options: DecodingOptions | HostedOptions) -> str:
    return catalogue.HYPOTHESES.name(artefact_digest[:16], options.digest()[:16])


def _read_rows(lake: Lake, pointer: Pointer | None, artefact_digest: str) -> dict[str, Hypothesis]:
    import pyarrow.parquet as pq

    if pointer is None:
        return {}
    if pointer.value["artefact"] != artefact_digest:
        raise LakeError(
            f"{pointer.name} holds hypotheses of artefact {pointer.value['artefact']}, not of {artefact_digest}; "
            "their digests share 16 digits: move the pointer away and evaluate again"
        )
    table = pq.read_table(io.BytesIO(lake.get_bytes(pointer.value["hypotheses"])))
    return {row["audio_sha256"]: _parse_hypothesis(row) for row in table.to_pylist()}


def _parse_hypothesis(row: dict[str, Any]) -> Hypothesis:
    return Hypothesis(**{**row, "words": tuple(RecognisedWord(**word) for word in row["words"])})


def _to_parquet(rows: Mapping[str, Hypothesis]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(rows[key]) for key in sorted(rows)], schema=_make_hypothesis_schema())
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _make_hypothesis_schema() -> pa.Schema:
    import pyarrow as pa

    word = pa.struct(
        [("text", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("confidence", pa.float64())]
    )
    return pa.schema(
        [
            ("audio_sha256", pa.string()),
            ("text", pa.string()),
            ("decode_s", pa.float64()),
            ("duration_s", pa.float64()),
            ("failure", pa.string()),
            ("reason", pa.string()),
            ("avg_logprob", pa.float64()),
            ("no_speech_prob", pa.float64()),
            ("compression_ratio", pa.float64()),
            ("words", pa.list_(word)),
        ]
    )
