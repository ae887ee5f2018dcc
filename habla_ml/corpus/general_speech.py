"""General speech: transcribed speech from outside the classroom, for training and to measure forgetting.

Sources are tables, Common Voice TSV files and Hugging Face datasets on disk. This module never writes to the lake:
general speech has no day, recording or event, so it cannot enter the classroom's corpus or test set. Training and
evaluation read it as `Utterance`s with samples in a scratch file.

The files are untrusted: resolved paths must stay in their folder, sizes are bounded, and a separate process decodes the
audio. An unusable row of a public corpus is skipped. A table is selected by hand and must be completely usable.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from habla_ml.annotation.sources.tables.clips import read_table_clips
from habla_ml.annotation.sources.tables.rows import find_table_file
from habla_ml.annotation.sources.tables.rows import read_table as read_table_rows
from habla_ml.audio import SILENCE_DBFS, decode_flac, dequantise, measure, pcm_sha256
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.public_corpora import PublicClip, read_common_voice, read_hugging_face
from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import CorpusError, InputError
from habla_ml.lake import compute_digest
from habla_ml.names import canonical_name, escape_name
from habla_ml.recordings.segments import segment_id
from habla_ml.recordings.sessions import Skipped
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.settings import SpeechSource

GENERAL_SPEECH_PREFIX: Final = "general-speech"
"""Prefix of the session names of public speech; no session of the classroom has it."""
MAX_LISTED_SKIPPED: Final = 1_000
"""Largest number of listed rows; all skipped rows are counted."""

_FILTERED, _UNUSABLE, _DUPLICATE = "by the filters", "cannot be used", "same sound as another"
_ERASED = "consent withdrawn"
_EVALUATION_AUDIO = "audio of evaluation data"


@dataclass(frozen=True)
class SpeechSourceSummary:
    """Content and origin of one source, for the record of a model trained on it."""

    name: str
    """Folder and file, or the last folder: no path of a machine."""
    kind: str
    licence: str
    """Licence; may be empty for a table."""
    origin: str
    selection: str
    clips: int
    hours: float
    left_out: Mapping[str, int]
    """Reason → excluded rows."""
    digest: str
    """Of the used audio and sentences, in order."""


@dataclass(frozen=True)
class GeneralSpeech:
    """The clips of all sources."""

    utterances: tuple[Utterance, ...] = ()
    sources: tuple[SpeechSourceSummary, ...] = ()
    skipped_inputs: tuple[Skipped, ...] = ()
    """The first unusable rows with their reasons."""


@dataclass
class _UtteranceBuffer:
    """Scratch file of samples, and the utterances they belong to."""

    samples: IO[bytes]
    drafts: list[Utterance] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])
    sounds: set[str] = field(default_factory=set)
    skipped_inputs: list[Skipped] = field(default_factory=list)

    def add(self, utterance: Utterance) -> None:
        self.samples.write(utterance.audio.astype(np.float32, copy=False).tobytes())
        self.ends.append(self.ends[-1] + len(utterance.audio))
        self.sounds.add(utterance.audio_sha256)
        self.drafts.append(replace(utterance, audio=np.zeros(0, np.float32)))

    def utterances(self) -> tuple[Utterance, ...]:
        """Return the utterances with samples mapped from the file, which exists as long as they do."""
        if not self.drafts:
            return ()
        self.samples.flush()
        mapped = np.memmap(self.samples, dtype=np.float32, mode="c")
        spans = zip(self.drafts, self.ends, self.ends[1:], strict=False)
        return tuple(replace(each, audio=mapped[start:end]) for each, start, end in spans)


@dataclass(frozen=True)
class _ClipReader:
    """Reads clips with text under the conventions; longer ones than `max_duration_s` are unusable."""

    conventions: Conventions
    max_duration_s: float
    decode: Callable[[bytes, float], NDArray[np.int16]]

    def read_table_utterances(self, table: Path) -> Iterator[Utterance | Skipped]:
        rows, unusable = read_table_rows(table)
        yield from unusable
        for clip in read_table_clips(table, rows, self.max_duration_s):
            if isinstance(clip, Skipped):
                yield clip
                continue
            segment, reading = clip.segment, self.conventions.read(clip.row.text)
            if clip.row.status == "unusable" or reading.problem:
                reason = f"has text that is {reading.problem}" if reading.problem else "is marked unusable"
                yield Skipped(segment.session_id, clip.row.label, reason)
                continue
            yield Utterance(
                **segment.metadata() | {"speaker": segment.speaker or UNKNOWN_SPEAKER},
                sentence=reading.sentence,
                audio=decode_flac(segment.audio),
            )

    def decode_public_clip(self, row: PublicClip, name: str) -> Utterance | Skipped:
        reading = self.conventions.read(row.text)
        try:
            if row.problem is not None:
                raise InputError(row.problem)
            if reading.problem:
                raise InputError(f"has text that is {reading.problem}")
            pcm = self.decode(row.load(), self.max_duration_s)
            measured = measure(pcm)
            if measured.loudness_dbfs <= SILENCE_DBFS:
                raise InputError("is digital silence")
        except InputError as error:
            return Skipped(name, row.label, str(error))
        # Each speaker is a session, so intervals are bootstrapped over speakers.
        session = f"{GENERAL_SPEECH_PREFIX}:{name}:{row.speaker or UNKNOWN_SPEAKER}"
        audio_sha256 = pcm_sha256(pcm)
        return Utterance(
            segment_id=segment_id(GENERAL_SPEECH_PREFIX, session, audio_sha256),
            session_id=session,
            speaker=row.speaker or UNKNOWN_SPEAKER,
            sentence=reading.sentence,
            duration_s=measured.duration_s,
            loudness_dbfs=measured.loudness_dbfs,
            audio_sha256=audio_sha256,
            audio=dequantise(pcm),
        )


def read_general_speech(
    sources: Sequence[SpeechSource],
    conventions: Conventions,
    max_duration_s: float,
    scratch: Path,
    erased: Collection[str],
) -> GeneralSpeech:
    """Read the clips of all sources, in the order of sources and rows, with text under the conventions.

    Clips longer than `max_duration_s` are unusable. `scratch` is a folder for the samples, 230 MB per hour of speech;
    the file disappears with its last user. `erased` has the sha256 of audio with withdrawn consent; it is excluded and
    counted.

    Raises:
        InputError: A source cannot be read.
        CorpusError: A table has unusable rows, or a source has no usable row.
    """
    from habla_ml.audio.audio_decoder import AudioDecoder

    if not sources:
        return GeneralSpeech()
    scratch.mkdir(parents=True, exist_ok=True)
    with AudioDecoder() as decoder, tempfile.TemporaryFile(dir=scratch, prefix=".speech-") as samples:
        buffer = _UtteranceBuffer(samples)
        reader = _ClipReader(conventions, max_duration_s, decoder.decode)
        summaries = tuple(_read_source(source, buffer, reader, erased) for source in sources)
        return GeneralSpeech(buffer.utterances(), summaries, tuple(buffer.skipped_inputs))


def split_by_source(speech: GeneralSpeech) -> Iterator[tuple[SpeechSourceSummary, tuple[Utterance, ...]]]:
    """Yield each source with its clips."""
    first = 0
    for source in speech.sources:
        yield source, speech.utterances[first : first + source.clips]
        first += source.clips


def leave_out_sounds(speech: GeneralSpeech, sounds: Collection[str]) -> GeneralSpeech:
    """Return the speech without these sounds of evaluation data, which its sources count."""
    if not sounds:
        return speech
    sources, kept = [], []
    for source, clips in split_by_source(speech):
        left = [each for each in clips if each.audio_sha256 not in sounds]
        kept += left
        left_out = Counter(source.left_out) + Counter({_EVALUATION_AUDIO: len(clips) - len(left)})
        hours = round(sum(each.duration_s for each in left) / 3600, 6)
        sources.append(
            replace(source, clips=len(left), hours=hours, left_out=dict(left_out), digest=_digest_clips(left))
        )
    return replace(speech, utterances=tuple(kept), sources=tuple(sources))


def count_evaluation_audio(sources: Iterable[SpeechSourceSummary]) -> int:
    """Return how many clips `leave_out_sounds` left out."""
    return sum(each.left_out.get(_EVALUATION_AUDIO, 0) for each in sources)


def _digest_clips(clips: Iterable[Utterance]) -> str:
    return compute_digest([[each.audio_sha256, each.sentence] for each in clips])


def _read_source(
    source: SpeechSource, buffer: _UtteranceBuffer, reader: _ClipReader, erased: Collection[str]
) -> SpeechSourceSummary:
    left_out: Counter[str] = Counter()
    name, clips = _open_source(source, reader, left_out)
    first, seconds = len(buffer.drafts), 0.0
    for clip in clips:
        if isinstance(clip, Skipped):
            left_out[_UNUSABLE] += 1
            if len(buffer.skipped_inputs) < MAX_LISTED_SKIPPED:
                buffer.skipped_inputs.append(Skipped(name, clip.file, clip.reason))
        elif clip.audio_sha256 in erased:
            left_out[_ERASED] += 1
        elif clip.audio_sha256 in buffer.sounds:
            left_out[_DUPLICATE] += 1
        elif source.most_hours is not None and seconds + clip.duration_s > 3600 * source.most_hours:
            break
        else:
            seconds += clip.duration_s
            buffer.add(clip)
    taken = buffer.drafts[first:]
    unusable = left_out[_UNUSABLE]
    if not taken or (source.kind == "table" and unusable):
        details = _describe_unusable(left_out, [each for each in buffer.skipped_inputs if each.session == name])
        raise CorpusError(
            f"general speech {source.path}: {unusable} rows are unusable: {details}; correct or remove them"
        )
    return SpeechSourceSummary(
        name=name,
        kind=source.kind,
        licence=source.licence,
        origin=source.origin,
        selection=_describe_selection(source),
        clips=len(taken),
        hours=round(seconds / 3600, 6),
        left_out=dict(left_out),
        digest=_digest_clips(taken),
    )


def _describe_unusable(left_out: Mapping[str, int], skipped: Sequence[Skipped]) -> str:
    if skipped:
        return "; ".join(f"{each.file} {each.reason}" for each in skipped[:3])
    if not left_out:
        return "it has no rows"
    return f"all rows are excluded ({', '.join(f'{count} {reason}' for reason, count in left_out.items())})"


def _open_source(
    source: SpeechSource, reader: _ClipReader, left_out: Counter[str]
) -> tuple[str, Iterator[Utterance | Skipped]]:
    """Return the name of a source and an iterator over its clips."""
    path = source.path.resolve()
    if source.kind == "table":
        return escape_name(f"{path.parent.name}/{path.name}"), reader.read_table_utterances(find_table_file(path))
    name = escape_name(f"{path.parent.name}/{path.name}" if path.is_file() else path.name)
    rows = read_common_voice(source) if source.kind == "common_voice" else read_hugging_face(source)
    wanted = _apply_filters(rows, source, left_out)
    if source.most_hours is not None:
        # The order of the hashes gives a sample over the whole corpus and its speakers, always the same.
        wanted = iter(sorted(wanted, key=lambda row: hashlib.sha256(row.key.encode()).digest()))
    return name, (reader.decode_public_clip(row, name) for row in wanted)


def _apply_filters(rows: Iterable[PublicClip], source: SpeechSource, left_out: Counter[str]) -> Iterator[PublicClip]:
    accents = [canonical_name(each) for each in source.accents]
    for row in rows:
        if row.problem is None and (
            row.up_votes < source.fewest_up_votes
            or (source.most_down_votes is not None and row.down_votes > source.most_down_votes)
            or (accents and not any(each in canonical_name(row.accents) for each in accents))
        ):
            left_out[_FILTERED] += 1
        else:
            yield row


def _describe_selection(source: SpeechSource) -> str:
    filters = [
        f"up votes ≥ {source.fewest_up_votes}" if source.fewest_up_votes else "",
        f"down votes ≤ {source.most_down_votes}" if source.most_down_votes is not None else "",
        f"accents {', '.join(source.accents)}" if source.accents else "",
        f"at most {source.most_hours:g} h" if source.most_hours is not None else "",
    ]
    return "; ".join(each for each in filters if each) or "everything"
