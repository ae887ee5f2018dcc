"""Transcribed speech from outside the classroom: what a model hears beside it, and what it must not forget.

Tables, Common Voice TSVs and Hugging Face datasets on disk. Nothing here writes into the lake: general speech has no
day, no recording and no event, so it cannot enter the classroom's corpus or test set. It is read when a model is
trained or measured, as `Utterance`s whose samples lie in a scratch file.

All of it comes from strangers: every path must stay in its own folder after links are followed, sizes are bounded,
and audio is decoded from bytes in a process of its own. A row of a public corpus that cannot be used is set aside; a
table is a chosen set and must be whole.
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

from habla_ml.annotation.sources.tables.rows import find_table_file, read_table, read_table_clips
from habla_ml.audio import SILENCE_DBFS, decode_flac, dequantise, measure, pcm_sha256
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.public_corpora import PublicClip, read_common_voice, read_hugging_face
from habla_ml.corpus.snapshot import Snapshot, Utterance
from habla_ml.errors import CorpusError, InputError
from habla_ml.lake import Lake, compute_digest
from habla_ml.recordings import Skipped, segment_id
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.settings import SpeechSource

GENERAL_SPEECH_PREFIX: Final = "general-speech"
"""First part of every session's name of public speech: no session of the classroom is called so."""
MAX_LISTED_SKIPPED: Final = 1_000
"""Rows set aside that are named one by one; all are counted."""

_FILTERED, _UNUSABLE, _DUPLICATE = "by the filters", "cannot be used", "same sound as another"
_ERASED = "consent withdrawn"


@dataclass(frozen=True)
class SpeechSourceSummary:
    """What was taken from where, for the record of a model that heard it."""

    name: str
    """Folder and file, or the last folder: no path of a machine."""
    kind: str
    licence: str
    """Empty where a table's owner said nothing."""
    origin: str
    selection: str
    """The filters in words."""
    clips: int
    hours: float
    left_out: Mapping[str, int]
    """Reason → rows that were not taken."""
    digest: str
    """Of the sounds and sentences taken, in their order."""


@dataclass(frozen=True)
class GeneralSpeech:
    """The clips of all sources."""

    utterances: tuple[Utterance, ...] = ()
    sources: tuple[SpeechSourceSummary, ...] = ()
    skipped_inputs: tuple[Skipped, ...] = ()
    """The first rows that could not be used, each with its reason."""


@dataclass
class _UtteranceBuffer:
    """Samples on their way to the scratch file, and the utterances whose they are."""

    samples: IO[bytes]
    drafts: list[Utterance] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])
    sounds: set[str] = field(default_factory=set)
    skipped_inputs: list[Skipped] = field(default_factory=list)

    def add(self, utterance: Utterance) -> None:
        """Write the samples out and keep the rest."""
        self.samples.write(utterance.audio.astype(np.float32, copy=False).tobytes())
        self.ends.append(self.ends[-1] + len(utterance.audio))
        self.sounds.add(utterance.audio_sha256)
        self.drafts.append(replace(utterance, audio=np.zeros(0, np.float32)))

    def add_skipped(self, name: str, row: str, reason: str) -> None:
        """Name a row that cannot be used, as long as there are few."""
        if len(self.skipped_inputs) < MAX_LISTED_SKIPPED:
            self.skipped_inputs.append(Skipped(name, row, reason))

    def utterances(self) -> tuple[Utterance, ...]:
        """The utterances with their samples mapped from the file, which lives as long as they do."""
        if not self.drafts:
            return ()
        self.samples.flush()
        mapped = np.memmap(self.samples, dtype=np.float32, mode="c")
        spans = zip(self.drafts, self.ends, self.ends[1:], strict=False)
        return tuple(replace(each, audio=mapped[start:end]) for each, start, end in spans)


def read_general_speech(
    sources: Sequence[SpeechSource],
    conventions: Conventions,
    max_duration_s: float,
    scratch: Path,
    erased: Collection[str],
) -> GeneralSpeech:
    """The clips of `sources`, their text under the conventions, in the order of the sources and their rows.

    Args:
        sources: As the settings declare them.
        conventions: What makes a text a sentence.
        max_duration_s: Longer clips cannot be used.
        scratch: A folder for the samples, 230 MB an hour of speech; the file vanishes with its last user.
        erased: sha256 of sounds whose consent was withdrawn; they are left out and counted.

    Raises:
        InputError: A source cannot be read at all.
        CorpusError: A table has rows that cannot be used, or a source nothing that can.
    """
    from habla_ml.audio.audio_decoder import AudioDecoder

    if not sources:
        return GeneralSpeech()
    scratch.mkdir(parents=True, exist_ok=True)
    described: list[SpeechSourceSummary] = []
    with AudioDecoder() as decoder, tempfile.TemporaryFile(dir=scratch, prefix=".speech-") as samples:
        buffer = _UtteranceBuffer(samples)
        for source in sources:
            described.append(_read_source(source, buffer, conventions, max_duration_s, decoder.decode, erased))
        return GeneralSpeech(buffer.utterances(), tuple(described), tuple(buffer.skipped_inputs))


def check_training_leakage(
    lake: Lake, snapshot: Snapshot, key: str, heard: Iterable[Utterance], measured: Iterable[Utterance]
) -> None:
    """See that nothing is heard in training that a model is judged by.

    Args:
        lake: Where the snapshot is.
        snapshot: Its validation and test splits judge.
        key: The setting that names what is heard: `training.replay`.
        heard: General speech that is to be trained on.
        measured: General speech that measures forgetting.

    Raises:
        CorpusError: The same sound is on both sides; names the first.
    """
    import io

    import pyarrow.parquet as pq

    columns = ["audio_sha256", "split"]
    table = pq.read_table(io.BytesIO(lake.get_bytes(snapshot.segments)), columns=columns)
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    judged = {each.audio_sha256: "evaluation.out_of_domain" for each in measured}
    judged |= {sound: f"the classroom's {split} split" for sound, split in rows if split != "train"}
    both = [each for each in heard if each.audio_sha256 in judged]
    if both:
        first = both[0]
        raise CorpusError(
            f"{len(both)} clips of {key} are also in {judged[first.audio_sha256]}, the first is "
            f"{first.segment_id}; take them out of {key}: what was heard in training judges nothing"
        )


def _read_source(
    source: SpeechSource,
    buffer: _UtteranceBuffer,
    conventions: Conventions,
    max_duration_s: float,
    decode: Callable[[bytes, float], NDArray[np.int16]],
    erased: Collection[str],
) -> SpeechSourceSummary:
    left_out: Counter[str] = Counter()
    name, clips = _open_source(source, conventions, max_duration_s, decode, left_out)
    first, seconds = len(buffer.drafts), 0.0
    for clip in clips:
        if isinstance(clip, Skipped):
            left_out[_UNUSABLE] += 1
            buffer.add_skipped(name, clip.file, clip.reason)
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
    refused = left_out[_UNUSABLE]
    if not taken or (source.kind == "table" and refused):
        listed = [each for each in buffer.skipped_inputs if each.session == name][:3]
        named = "; ".join(f"{each.file} {each.reason}" for each in listed) or (
            f"none of its rows is left ({', '.join(f'{count} {why}' for why, count in left_out.items())})"
            if left_out
            else "it has no rows"
        )
        raise CorpusError(
            f"general speech {source.path}: {refused} rows cannot be used: {named}; mend or remove them"
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
        digest=compute_digest([[each.audio_sha256, each.sentence] for each in taken]),
    )


def _open_source(
    source: SpeechSource,
    conventions: Conventions,
    max_duration_s: float,
    decode: Callable[[bytes, float], NDArray[np.int16]],
    left_out: Counter[str],
) -> tuple[str, Iterator[Utterance | Skipped]]:
    """The name of a source and its clips, one at a time."""
    path = source.path.resolve()
    if source.kind == "table":
        table = find_table_file(path)
        return f"{path.parent.name}/{path.name}", _read_table_utterances(table, conventions, max_duration_s)
    name = f"{path.parent.name}/{path.name}" if path.is_file() else path.name
    rows = read_common_voice(source) if source.kind == "common_voice" else read_hugging_face(source)
    wanted = _apply_filters(rows, source, left_out)
    if source.most_hours is not None:
        # By hash, so that a sample is spread over the corpus and its voices, and always the same.
        wanted = iter(sorted(wanted, key=lambda row: hashlib.sha256(row.key.encode()).digest()))
    return name, (_decode_public_clip(row, name, conventions, max_duration_s, decode) for row in wanted)


def _apply_filters(
    rows: Iterable[PublicClip], source: SpeechSource, left_out: Counter[str]
) -> Iterator[PublicClip]:
    accents = [each.casefold() for each in source.accents]
    for row in rows:
        if row.problem is None and (
            row.up_votes < source.fewest_up_votes
            or (source.most_down_votes is not None and row.down_votes > source.most_down_votes)
            or (accents and not any(each in row.accents.casefold() for each in accents))
        ):
            left_out[_FILTERED] += 1
        else:
            yield row


def _read_table_utterances(
    table: Path, conventions: Conventions, max_duration_s: float
) -> Iterator[Utterance | Skipped]:
    rows, refused = read_table(table)
    yield from refused
    for clip in read_table_clips(table, rows, "", max_duration_s):
        if isinstance(clip, Skipped):
            yield clip
            continue
        segment, reading = clip.segment, conventions.read(clip.row.text)
        if clip.row.status == "unusable" or reading.problem:
            what = f"has text that is {reading.problem}" if reading.problem else "is marked unusable"
            yield Skipped(segment.session_id, clip.row.label, what)
            continue
        yield Utterance(
            **segment.metadata() | {"speaker": segment.speaker or UNKNOWN_SPEAKER},
            sentence=reading.sentence,
            audio=decode_flac(segment.audio),
        )


def _decode_public_clip(
    row: PublicClip,
    name: str,
    conventions: Conventions,
    max_duration_s: float,
    decode: Callable[[bytes, float], NDArray[np.int16]],
) -> Utterance | Skipped:
    reading = conventions.read(row.text)
    try:
        if row.problem is not None:
            raise InputError(row.problem)
        if reading.problem:
            raise InputError(f"has text that is {reading.problem}")
        pcm = decode(row.load(), max_duration_s)
        measured = measure(pcm)
        if measured.loudness_dbfs <= SILENCE_DBFS:
            raise InputError("is digital silence")
    except InputError as error:
        return Skipped(name, row.label, str(error))
    # A voice is a session: intervals are drawn over voices.
    session = f"{GENERAL_SPEECH_PREFIX}:{name}:{row.speaker or UNKNOWN_SPEAKER}"
    sound = pcm_sha256(pcm)
    return Utterance(
        segment_id=segment_id(GENERAL_SPEECH_PREFIX, session, sound),
        session_id=session,
        speaker=row.speaker or UNKNOWN_SPEAKER,
        sentence=reading.sentence,
        duration_s=measured.duration_s,
        loudness_dbfs=measured.loudness_dbfs,
        audio_sha256=sound,
        audio=dequantise(pcm),
    )


def _describe_selection(source: SpeechSource) -> str:
    said = [
        f"up votes ≥ {source.fewest_up_votes}" if source.fewest_up_votes else "",
        f"down votes ≤ {source.most_down_votes}" if source.most_down_votes is not None else "",
        f"accents {', '.join(source.accents)}" if source.accents else "",
        f"at most {source.most_hours:g} h" if source.most_hours is not None else "",
    ]
    return "; ".join(each for each in said if each) or "everything"
