"""The data of the error browser: every utterance with its texts, errors, slices and, within a size, its audio.

The page embeds JSON that no parser of HTML interprets. A script draws one page of utterances at a time and decodes audio
when a person plays it.
"""

from __future__ import annotations

import base64
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from habla_ml.audio import encode_mp3
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.records import Comparison, Dimension
from habla_ml.evaluation.comparison.slices import DIMENSIONS, list_slice_names
from habla_ml.evaluation.metrics.inputs import Reference
from habla_ml.evaluation.report.breakdown import DIMENSION_LABELS
from habla_ml.evaluation.scoring.alignment import AlignedWord, align_words
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.names import choose_spellings
from habla_ml.transcription.audio_check import find_audio_fault

if TYPE_CHECKING:
    import pyarrow as pa

MAX_AUDIO_BYTES: Final = 12 * 2**20
"""MP3 in one page: about 70 minutes. Base64 makes 16 MiB of it, which still fits into a mail."""
CLIPS_PER_CHUNK: Final = 64
"""Clips in one JSON text; the script parses a text when it plays the first of its clips."""
_LABELS: Final[dict[Dimension, str]] = {**DIMENSION_LABELS, "speaker": "Speaker", "session": "Session"}


@dataclass(frozen=True)
class ErrorBrowser:
    """JSON texts for the page; safe inside a `script` element."""

    utterances: Markup
    audio: tuple[Markup, ...]
    """Lists of up to `CLIPS_PER_CHUNK` MP3 files in base64."""
    count: int
    playable: int
    """Utterances with audio."""


def build_error_browser(comparison: Comparison, utterances: Iterable[Utterance], table: pa.Table) -> ErrorBrowser:
    """Collect what the error browser shows.

    Args:
        comparison: Names the models and the bound of quiet speech.
        utterances: The test set, read once; only texts and at most `MAX_AUDIO_BYTES` of audio are kept.
        table: One row for each utterance and model, from `error_tables.make_utterance_table`.
    """
    rows = _read_rows(comparison, table)
    audio, references = AudioSelection(MAX_AUDIO_BYTES), {}
    for each in utterances:
        if each.segment_id in rows:
            references[each.segment_id] = Reference.of(each)
            audio.offer(each, rows[each.segment_id].interest)
    sounds = audio.sounds
    numbers = {segment: at for at, segment in enumerate(sounds)}
    slices = _collect_slices(comparison, list(references.values()))
    dimensions = [each for each in _LABELS if each != "overall" and len(slices.names.get(each, ())) > 1]
    data = {
        "models": [{"name": each.name, "role": each.role} for each in comparison.models],
        "dimensions": [{"label": _LABELS[each], "names": slices.names[each]} for each in dimensions],
        "clips_per_chunk": CLIPS_PER_CHUNK,
        "rows": [
            _describe_row(segment, row, references.get(segment), numbers.get(segment, -1), slices, dimensions)
            for segment, row in rows.items()
        ],
    }
    encoded = [base64.b64encode(each).decode() for each in sounds.values()]
    chunks = (encoded[at : at + CLIPS_PER_CHUNK] for at in range(0, len(encoded), CLIPS_PER_CHUNK))
    return ErrorBrowser(_to_safe_json(data), tuple(map(_to_safe_json, chunks)), len(rows), len(sounds))


@dataclass
class AudioSelection:
    """The most interesting clips within a size in bytes, while a test set is read once."""

    max_bytes: int
    _kept: list[tuple[float, int, str, bytes]] = field(default_factory=list)
    _size: int = 0

    def offer(self, utterance: Utterance, interest: float) -> None:
        """Keep the clip if there is room for it, or if it is more interesting than others; skip unusable audio."""
        is_full = self._size >= self.max_bytes
        if (is_full and interest <= self._kept[0][0]) or find_audio_fault(utterance.audio) is not None:
            return
        sound = encode_mp3(utterance.audio)
        heapq.heappush(self._kept, (interest, -len(self._kept), utterance.segment_id, sound))
        self._size += len(sound)
        while self._size > self.max_bytes:
            self._size -= len(heapq.heappop(self._kept)[-1])

    @property
    def sounds(self) -> dict[str, bytes]:
        """MP3 files by segment id, in the order of the ids."""
        return {segment: sound for _, _, segment, sound in sorted(self._kept, key=lambda each: each[2])}


@dataclass
class _BrowserRow:
    reference: str
    session_id: str
    words: int
    errors: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def interest(self) -> float:
        """Errors of the last model, and those that it makes more than the first."""
        return self.errors[-1] + max(0, self.errors[-1] - self.errors[0])


def _read_rows(comparison: Comparison, table: pa.Table) -> dict[str, _BrowserRow]:
    """Return the utterances by segment id, with the models in the order of the comparison."""
    import pyarrow.compute as pc

    rows: dict[str, _BrowserRow] = {}
    for model in comparison.models:
        for each in table.filter(pc.equal(table["model"], model.name)).to_pylist():
            substituted, deleted, inserted, hits = (
                each[f"words_{part}"] for part in ("substitutions", "deletions", "insertions", "hits")
            )
            row = rows.setdefault(
                each["segment_id"], _BrowserRow(each["reference"], each["session_id"], substituted + deleted + hits)
            )
            row.errors.append(substituted + deleted + inserted)
            row.texts.append(each["hypothesis"])
    return rows


@dataclass(frozen=True)
class _UtteranceSlices:
    names: Mapping[Dimension, list[str]]
    of: Mapping[str, Mapping[Dimension, str]]
    """Segment id → its slices."""


def _collect_slices(comparison: Comparison, references: Sequence[Reference]) -> _UtteranceSlices:
    shown = choose_spellings(name for each in references for name in (each.speaker_key, each.session_id))
    of = {each.segment_id: list_slice_names(each, comparison.method.quiet_below_dbfs, shown) for each in references}
    known = {dimension: {each[dimension] for each in of.values()} for dimension in DIMENSIONS} if of else {}
    ranked = [(each.dimension, each.name) for each in comparison.slices]
    return _UtteranceSlices(
        {
            dimension: sorted(names, key=lambda name: (_find(ranked, (dimension, name)), name))
            for dimension, names in known.items()
        },
        of,
    )


def _find(ranked: Sequence[tuple[str, str]], key: tuple[str, str]) -> int:
    return ranked.index(key) if key in ranked else len(ranked)


def _describe_row(
    segment: str,
    row: _BrowserRow,
    reference: Reference | None,
    audio: int,
    slices: _UtteranceSlices,
    dimensions: Sequence[Dimension],
) -> list[Any]:
    """Return what `error_browser.js` reads, in its order."""
    names = slices.of.get(segment, {})
    return [
        segment,
        row.session_id,
        reference.speaker if reference else "",
        round(reference.duration_s, 2) if reference else 0,
        round(reference.loudness_dbfs) if reference else 0,
        row.reference,
        row.words,
        audio,
        [slices.names[each].index(names[each]) if each in names else -1 for each in dimensions],
        row.errors,
        [
            [_describe_step(step) for step in align_words(normalise_spanish(row.reference), normalise_spanish(text))]
            if errors
            else text
            for text, errors in zip(row.texts, row.errors, strict=True)
        ],
    ]


def _describe_step(step: AlignedWord) -> str | list[str | None]:
    """Return an equal word, or reference and hypothesis."""
    if step.operation == "equal":
        return step.reference or ""
    return [step.reference, step.hypothesis]


def _to_safe_json(value: Any) -> Markup:
    """Return JSON without `<`, so that no text in it can end or open an element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704
