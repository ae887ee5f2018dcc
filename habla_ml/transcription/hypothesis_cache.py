"""The cache of hypotheses in the lake, so that no clip is decoded twice with the same model and options.

Each artefact and set of options has one immutable parquet table behind the pointer `hypotheses/<artefact>/<options>`,
keyed by the sha256 of the audio. Empty texts, timeouts and crashes are cached too. Times are not cached, because those of
different days cannot be compared. Processes that decode at the same time merge their rows by compare-and-set. A new option
changes the digest of all options: tables of older code then remain under their old pointers, unread and unchanged, and
their clips are decoded again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.lake.table import put_table, read_table
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord, Transcriber, Usage
from habla_ml.transcription.options import DecodingOptions, HostedOptions

CLIPS_PER_SAVE = 256
"""Clips decoded between two saves; a killed run loses at most so many."""

DecodingProgress = Callable[[int, int], None]
"""Receives after each batch the clips done so far, and how many of them were decoded now."""

_MAX_SAVE_ATTEMPTS = 20
_WORD = pa.struct({"text": pa.string(), "start_s": pa.float64(), "end_s": pa.float64(), "confidence": pa.float64()})
_SCHEMA = pa.schema(
    {
        "audio_sha256": pa.string(),
        "text": pa.string(),
        "duration_s": pa.float64(),
        "failure": pa.string(),
        "reason": pa.string(),
        "avg_logprob": pa.float64(),
        "no_speech_prob": pa.float64(),
        "compression_ratio": pa.float64(),
        "words": pa.list_(_WORD),
        "segments_s": pa.list_(pa.float64()),
    }
)


def transcribe_cached(
    lake: Lake,
    artefact_digest: str,
    transcriber: Transcriber,
    clips: Iterable[Clip],
    progress: DecodingProgress | None = None,
    save_every: int = CLIPS_PER_SAVE,
) -> list[Hypothesis]:
    """Return one hypothesis for each clip, in order and without its time; decode only audio that is not in the cache.

    Memory holds all hypotheses, and the audio of one batch or, for a transcriber that reads ahead, of a few.

    Raises:
        EvaluationError: The engine failed; finished hypotheses are saved.
        ServiceError: The Ray cluster that decodes was lost; the same are saved.
        LakeError: The cache cannot be read or written.
    """
    options = transcriber.options
    known = read_hypotheses(lake, artefact_digest, options)
    order: list[str] = []
    fresh: dict[str, Hypothesis] = {}
    saved, decoded = transcriber.usage, 0
    waiting: deque[tuple[list[str], int]] = deque()

    def read_batches() -> Iterator[list[Clip]]:
        for batch in _batch_uncached(clips, set(known), order, min(save_every, transcriber.batch_clips)):
            waiting.append((list(batch), len(order)))
            yield list(batch.values())

    try:
        for hypotheses in transcriber.transcribe_batches(read_batches()):
            sounds, done = waiting.popleft()
            found = {key: replace(each, decode_s=None) for key, each in zip(sounds, hypotheses, strict=True)}
            known.update(found)
            # Do not cache outages or fallback results; ask the service again next time.
            fresh.update(
                (key, each) for key, each in found.items() if each.failure != "service" and not each.fallback_engine
            )
            decoded += len(found)
            if len(fresh) >= save_every:
                save_hypotheses(lake, artefact_digest, options, fresh, transcriber.usage.since(saved))
                saved, fresh = transcriber.usage, {}
            if progress:
                progress(done, decoded)
    finally:  # also where the service went down or the cap was reached: these clips are paid
        if fresh:
            save_hypotheses(lake, artefact_digest, options, fresh, transcriber.usage.since(saved))
    if progress:
        progress(len(order), decoded)
    return [known[audio_sha256] for audio_sha256 in order]


def _batch_uncached(
    clips: Iterable[Clip], known: set[str], order: list[str], batch_clips: int
) -> Iterator[dict[str, Clip]]:
    """Yield the clips with other sounds than `known` in batches, by sha256; append all sounds to `known` and `order`."""
    batch: dict[str, Clip] = {}
    for clip in clips:
        order.append(clip.audio_sha256)
        if clip.audio_sha256 not in known:
            known.add(clip.audio_sha256)
            batch[clip.audio_sha256] = clip
        if len(batch) == batch_clips:
            yield batch
            batch = {}
    if batch:
        yield batch


def read_hypotheses(
    lake: Lake, artefact_digest: str, options: DecodingOptions | HostedOptions
) -> dict[str, Hypothesis]:
    """Return all cached hypotheses of this artefact and these options, by the sha256 of the audio."""
    return _read_rows(lake, lake.read_pointer(_make_pointer_name(artefact_digest, options)), artefact_digest)


def read_usage(lake: Lake, artefact_digest: str, options: DecodingOptions | HostedOptions) -> Usage:
    """Return the audio that was decoded with this artefact and these options, and what it cost; no times, no memory."""
    pointer = lake.read_pointer(_make_pointer_name(artefact_digest, options))
    return Usage() if pointer is None else Usage(**pointer.value["usage"])


def save_hypotheses(
    lake: Lake,
    artefact_digest: str,
    options: DecodingOptions | HostedOptions,
    fresh: Mapping[str, Hypothesis],
    used: Usage | None = None,
) -> None:
    """Merge hypotheses and the resources they used into the cache; existing rows remain unchanged."""
    name = _make_pointer_name(artefact_digest, options)
    for _ in range(_MAX_SAVE_ATTEMPTS):
        seen = lake.read_pointer(name)
        rows = {**fresh, **_read_rows(lake, seen, artefact_digest)}
        total = (Usage() if seen is None else Usage(**seen.value["usage"])) + (used or Usage())
        value = {
            "artefact": artefact_digest,
            "options": options.model_dump(mode="json"),
            "hypotheses": put_table(lake, _to_table(rows)),
            "count": len(rows),
            "usage": {"audio_s": total.audio_s, "cost_usd": total.cost_usd},
        }
        try:
            lake.move_pointer(name, value, seen)
        except PointerMovedError:
            continue
        return
    raise LakeError(
        f"other processes changed {name} {_MAX_SAVE_ATTEMPTS} times in a row; wait until other evaluations of this model "
        "have finished, then run again"
    )


def _make_pointer_name(artefact_digest: str, options: DecodingOptions | HostedOptions) -> str:
    return catalogue.HYPOTHESES.name(artefact_digest[:16], options.digest()[:16])


def _read_rows(lake: Lake, pointer: Pointer | None, artefact_digest: str) -> dict[str, Hypothesis]:
    if pointer is None:
        return {}
    if pointer.value["artefact"] != artefact_digest:
        raise LakeError(
            f"{pointer.name} contains hypotheses of artefact {pointer.value['artefact']}, whose digest has the same first "
            f"16 digits as {artefact_digest}; delete the pointer and evaluate again"
        )
    table = read_table(lake, pointer.value["hypotheses"])
    return {row["audio_sha256"]: _to_hypothesis(row) for row in table.to_pylist()}


def _to_hypothesis(row: Mapping[str, Any]) -> Hypothesis:
    words, segments_s = tuple(RecognisedWord(**word) for word in row["words"]), row.get("segments_s")
    return Hypothesis(
        **{**row, "decode_s": None, "words": words, "segments_s": None if segments_s is None else tuple(segments_s)}
    )


def _to_table(rows: Mapping[str, Hypothesis]) -> pa.Table:
    return pa.Table.from_pylist([asdict(rows[key]) for key in sorted(rows)], schema=_SCHEMA)
