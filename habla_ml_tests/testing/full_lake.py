"""A small lake with the output of every stage: two days, corrections, a snapshot, two model versions, a report."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest, save_queue
from habla_ml.annotation.sources import collect_events
from habla_ml.audio import encode_flac, pcm_sha256
from habla_ml.consent.register import load_register
from habla_ml.corpus.build import build_day
from habla_ml.corpus.snapshot import Snapshot, Utterance, read_utterances
from habla_ml.corpus.splits import make_snapshot
from habla_ml.evaluation.comparison.compare import compare_with_error_tables
from habla_ml.evaluation.comparison.records import Provenance
from habla_ml.evaluation.metrics.inputs import DecodedModel
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.report import ReportContent, write_report
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import save_hypotheses
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml.transcription.transcribe_files import CACHE_FOLDER
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    HablaWorkspace,
    make_noise,
    make_workspace,
    write_corrections,
    write_session,
)

DAYS = ("2026-02-16", "2026-02-17")
ENROLLED_SPEAKER = "Remedios"
SEGMENTS = 4
ARTEFACT = "a" * 64
PLANNED_RECIPE = "recipe: none\n"


@dataclass(frozen=True)
class SegmentTraces:
    """The traces of one segment that an erasure must remove."""

    segment_id: str
    sound: str
    pcm: bytes
    flac: bytes
    texts: tuple[str, ...]


@dataclass(frozen=True)
class FullLake:
    """The workspace and the traces of its segments."""

    workspace: HablaWorkspace
    lake: Lake
    snapshot: Snapshot
    traces_by_segment: dict[tuple[str, int], SegmentTraces]
    """By session and number."""

    def with_lake(self, lake: Lake) -> FullLake:
        return FullLake(self.workspace, lake, self.snapshot, self.traces_by_segment)


def list_sessions() -> list[str]:
    return [f"clase{hour}_{day.replace('-', '')}_{hour}0000" for day in DAYS for hour in (10, 11, 12)]


def seed_of(session: str, number: int) -> int:
    return sum(session.encode()) * 1000 + number


def typed_text(session: str, number: int) -> str:
    return f"Frase secreta {session.replace('_', ' ')} con ñandú número {number}."


def make_full_lake(root: Path, lake_of: Callable[[HablaWorkspace], Lake] | None = None) -> FullLake:
    """Make the workspace; `lake_of` returns a lake to use instead of the folder's."""
    workspace = make_workspace(
        root,
        recordings={"keep_raw_stream": True},
        consent={"registry": str(_write_register_file(root, []))},
        corpus={"slowest_chars_per_s": 0.0, "fastest_chars_per_s": 1000.0},
    )
    lake = lake_of(workspace) if lake_of else workspace.lake
    for session in list_sessions():
        entries = {
            number: {
                "raw_transcript": f"maquina {typed_text(session, number)}",
                "speaker": speaker_of(session, number),
            }
            for number in range(1, SEGMENTS + 1)
        }
        folder = write_session(workspace.recordings, session, SEGMENTS, entries=entries, seed=seed_of(session, 0))
        (folder / "raw_stream.webm").write_bytes(b"\x1a\x45\xdf\xa3" + b"".join(raw_pcm(session)))
        write_corrections(folder, {number: typed_text(session, number) for number in range(1, SEGMENTS + 1)})
    for day in DAYS:
        ingest_day(workspace.recordings, day, lake, workspace.settings, NOW)
        collect_events(lake, day, workspace.settings, NOW)
        build_day(lake, day, workspace.conventions, workspace.settings)
    snapshot = make_snapshot(lake, workspace.settings, workspace.conventions)
    for version in ("v1", "v2"):
        plan = {"version": version, "snapshot": snapshot.id, "recipe": lake.put_bytes(PLANNED_RECIPE.encode())}
        lake.move_pointer(f"models/{version}/plan", {**plan, "corpus_hours": 1.0}, None)
    _evaluate(lake, workspace, snapshot)
    _save_queue(lake, snapshot)
    _write_training_files(lake, workspace, snapshot)
    voices = {
        (session, number): _make_traces(session, number)
        for session in list_sessions()
        for number in range(1, SEGMENTS + 1)
    }
    return FullLake(workspace, lake, snapshot, voices)


def speaker_of(session: str, number: int) -> str:
    return ENROLLED_SPEAKER if number == SEGMENTS and session.startswith("clase10") else "Speaker A"


def raw_pcm(session: str) -> Iterator[bytes]:
    for number in range(1, SEGMENTS + 1):
        yield make_noise(0.4, seed_of(session, number)).astype("<i2").tobytes()


def write_register(workspace: HablaWorkspace, entry: dict) -> None:
    path = workspace.settings.consent.registry
    assert path is not None
    _write_register_file(path.parent, [entry])


def load_contributor(workspace: HablaWorkspace):
    path = workspace.settings.consent.registry
    assert path is not None
    return load_register(path).contributors[0]


def _write_register_file(root: Path, entries: list[dict]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "consents.yaml"
    path.write_text(yaml.safe_dump({"contributors": entries}, allow_unicode=True), "utf-8")
    return path


def _make_traces(session: str, number: int) -> SegmentTraces:
    pcm = make_noise(0.4, seed_of(session, number))
    samples = pcm.astype(np.float32) / 32768
    return SegmentTraces(
        segment_id(HABLA_SOURCE, session, f"segment_{number:03d}.wav"),
        pcm_sha256(samples),
        pcm.astype("<i2").tobytes(),
        encode_flac(samples),
        (typed_text(session, number), f"maquina {typed_text(session, number)}", f"oido {session} {number}"),
    )


def _make_hypotheses(utterances: list[Utterance]) -> list[Hypothesis]:
    found = []
    for each in utterances:
        number = each.sentence.rstrip(".").split()[-1]
        found.append(Hypothesis(each.audio_sha256, f"oido {each.session_id} {number}", 0.1, each.duration_s))
    return found


def _evaluate(lake: Lake, workspace: HablaWorkspace, snapshot: Snapshot) -> None:
    """Decode, compare and report v2 like `wer_report`."""
    options = build_served_options(workspace.settings.evaluation)
    everything = [each for split in ("train", "test") for each in read_utterances(lake, snapshot, split)]
    save_hypotheses(lake, ARTEFACT, options, {each.audio_sha256: each for each in _make_hypotheses(everything)})
    test = list(read_utterances(lake, snapshot, "test"))
    base = [Hypothesis(each.audio_sha256, "", 0.1, each.duration_s) for each in test]
    comparison, records = compare_with_error_tables(
        test,
        [
            DecodedModel("base", "base", "b" * 64, options, base),
            DecodedModel("v2", "candidate", ARTEFACT, options, _make_hypotheses(test)),
        ],
        EvaluationSettings(bootstrap_draws=200),
        Provenance(
            snapshot_id=snapshot.id,
            conventions=snapshot.conventions,
            conventions_digest=snapshot.conventions_digest,
            hardware=None,
        ),
    )
    folder = workspace.settings.work_folder / "reports" / "v2"
    decision = decide(comparison, workspace.settings.promotion)
    files = write_report(ReportContent(comparison, decision, "2026-03-01"), test, folder, records)
    value = {
        "comparison": lake.put_file(files.json),
        "html": lake.put_file(files.html),
        "markdown": lake.put_file(files.markdown),
        "utterances": lake.put_file(files.utterances),
        "word_errors": lake.put_file(files.word_errors),
        "verdict": "deploy",
        "snapshot": snapshot.id,
        "date": "2026-03-01",
        "ctranslate2": ARTEFACT,
        "checkpoint": None,
    }
    lake.move_pointer("models/v2/report", value, None)


def _save_queue(lake: Lake, snapshot: Snapshot) -> None:
    back = ReviewRequest(1, ("digits",), "c" * 64, "d" * 64)
    items = [
        ReviewItem(
            segment_id=each.segment_id,
            session_id=each.session_id,
            day=DAYS[0],
            speaker=each.speaker,
            duration_s=1.0,
            hint=each.sentence,
            model_version="habla",
            score=1.0,
            reasons=(),
            is_random=False,
            request=back if at % 2 else None,
        )
        for at, each in enumerate(read_utterances(lake, snapshot, "train"))
    ]
    save_queue(lake, items, NOW)


def _write_training_files(lake: Lake, workspace: HablaWorkspace, snapshot: Snapshot) -> None:
    """Write the clips of an unfinished training, served audio, a list of pushed segments, and transcripts of files."""
    work = workspace.settings.work_folder
    clips = work / "training" / "v2" / "0123456789abcdef" / "clips"
    clips.mkdir(parents=True)
    train = list(read_utterances(lake, snapshot, "train"))
    pcm = [np.rint(each.audio * 32768).astype("<i2").tobytes() for each in train]
    (clips / "samples.i16").write_bytes(b"".join(pcm))
    served = work / "label_studio" / "documents"
    served.mkdir(parents=True)
    for each in train:
        (served / f"{each.segment_id}.flac").write_bytes(encode_flac(each.audio))
    (work / "pushed.json").write_text(json.dumps([each.segment_id for each in train]), "utf-8")
    transcripts = Lake(DirectoryStore(work / CACHE_FOLDER / "store"), work / CACHE_FOLDER / "cache")
    cut = {f"{at:064x}": Hypothesis(f"{at:064x}", each.sentence, 0.1, 1.0) for at, each in enumerate(train)}
    save_hypotheses(transcripts, "e" * 64, DecodingOptions(), cut)


def iterate_stored_bytes(lake_store, folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield every value of a store, every file of some folders, and the columns of every parquet table in them."""
    named = [(entry.key, lake_store.read(entry.key)) for entry in lake_store.list("")]
    named += [(str(path), path.read_bytes()) for folder in folders for path in folder.rglob("*") if path.is_file()]
    for name, data in named:
        yield name, data
        if data[:4] == b"PAR1":
            table = pq.ParquetFile(pa.BufferReader(data)).read()
            for column in table.column_names:
                values = table[column].to_pylist()
                joined = b"\n".join(each if isinstance(each, bytes) else str(each).encode() for each in values)
                yield f"{name} column {column}", joined
                for each in values:
                    if column == "audio":
                        yield f"{name} decoded", decoded_pcm(each)


def decoded_pcm(flac: bytes) -> bytes:
    import soundfile

    samples, _ = soundfile.read(io.BytesIO(flac), dtype="int16")
    return samples.astype("<i2").tobytes()


def encode_traces(voice: SegmentTraces) -> list[bytes]:
    """Return the encodings of a voice and its texts."""
    found = [voice.pcm, voice.flac, base64.b64encode(voice.flac)]
    for text in voice.texts:
        found += [text.encode(), json.dumps(text)[1:-1].encode(), text.rstrip(".").encode()]
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def read_pointers(lake: Lake) -> dict[str, dict]:
    """Return the values of all pointers but the note of a restore."""
    found = {name: lake.read_pointer(name) for name in lake.list_pointers("") if name != catalogue.RESTORED}
    return {name: dict(pointer.value) for name, pointer in found.items() if pointer is not None}
