"""A small lake in which everything has happened once: two days, corrections, a snapshot, two versions, a report."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from habla_ml.annotation import collect_events
from habla_ml.annotation.review import Objection, ReviewItem, save_queue
from habla_ml.audio import encode_flac, pcm_sha256
from habla_ml.consent.register import load_register
from habla_ml.corpus.build import build_day
from habla_ml.corpus.snapshot import Snapshot, Utterance, read_utterances
from habla_ml.corpus.splits import make_snapshot
from habla_ml.evaluation.compare import Evaluated, compare_with_records
from habla_ml.evaluation.comparison import Provenance
from habla_ml.evaluation.hypotheses import save_hypotheses
from habla_ml.evaluation.promotion import decide
from habla_ml.evaluation.report import write_report
from habla_ml.lake import Lake
from habla_ml.recordings import HABLA, ingest_day, segment_id
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.recordings.world import NOW, World, make_world, speech, write_corrections, write_session

DAYS = ("2026-02-16", "2026-02-17")
ENROLLED = "Remedios"
SEGMENTS = 4
ARTEFACT = "a" * 64
PLANNED = "recipe: none\n"


@dataclass(frozen=True)
class Voice:
    """Everything of one segment that must be nowhere."""

    segment_id: str
    sound: str
    pcm: bytes
    flac: bytes
    texts: tuple[str, ...]


@dataclass(frozen=True)
class LivedIn:
    """The world and what was said in it."""

    world: World
    lake: Lake
    snapshot: Snapshot
    voices: dict[tuple[str, int], Voice]
    """By session and number."""

    def reopened(self, lake: Lake) -> LivedIn:
        return LivedIn(self.world, lake, self.snapshot, self.voices)


def sessions() -> list[str]:
    return [f"clase{hour}_{day.replace('-', '')}_{hour}0000" for day in DAYS for hour in (10, 11, 12)]


def seed_of(session: str, number: int) -> int:
    return sum(session.encode()) * 1000 + number


def typed(session: str, number: int) -> str:
    return f"Frase secreta {session.replace('_', ' ')} con ñandú número {number}."


def live_in(root: Path, lake_of: Callable[[World], Lake] | None = None) -> LivedIn:
    """Make the world; `lake_of` gives another lake than the folder's."""
    world = make_world(
        root,
        recordings={"keep_raw_stream": True},
        consent={"registry": str(_register(root, []))},
        corpus={"slowest_chars_per_s": 0.0, "fastest_chars_per_s": 1000.0},
    )
    lake = lake_of(world) if lake_of else world.lake
    for session in sessions():
        entries = {
            number: {"raw_transcript": f"maquina {typed(session, number)}", "speaker": speaker_of(session, number)}
            for number in range(1, SEGMENTS + 1)
        }
        folder = write_session(world.recordings, session, SEGMENTS, entries=entries, seed=seed_of(session, 0))
        (folder / "raw_stream.webm").write_bytes(b"\x1a\x45\xdf\xa3" + b"".join(raw_pcm(session)))
        write_corrections(folder, {number: typed(session, number) for number in range(1, SEGMENTS + 1)})
    for day in DAYS:
        ingest_day(world.recordings, day, lake, world.settings, NOW)
        collect_events(world.recordings, day, lake, world.settings, NOW)
        build_day(lake, day, world.conventions, world.settings)
    snapshot = make_snapshot(lake, world.settings, world.conventions)
    for version in ("v1", "v2"):
        plan = {"version": version, "snapshot": snapshot.id, "recipe": lake.put_bytes(PLANNED.encode())}
        lake.move_pointer(f"models/{version}/plan", {**plan, "corpus_hours": 1.0}, None)
    _evaluate(lake, world, snapshot)
    _queue(lake, snapshot)
    _train(lake, world, snapshot)
    voices = {
        (session, number): _voice(session, number) for session in sessions() for number in range(1, SEGMENTS + 1)
    }
    return LivedIn(world, lake, snapshot, voices)


def speaker_of(session: str, number: int) -> str:
    return ENROLLED if number == SEGMENTS and session.startswith("clase10") else "Speaker A"


def raw_pcm(session: str) -> Iterator[bytes]:
    for number in range(1, SEGMENTS + 1):
        yield speech(0.4, seed_of(session, number)).astype("<i2").tobytes()


def write_register(world: World, entry: dict) -> None:
    path = world.settings.consent.registry
    assert path is not None
    _register(path.parent, [entry])


def contributor_in(world: World):
    path = world.settings.consent.registry
    assert path is not None
    return load_register(path).contributors[0]


def _register(root: Path, entries: list[dict]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "consents.yaml"
    path.write_text(yaml.safe_dump({"contributors": entries}, allow_unicode=True), "utf-8")
    return path


def _voice(session: str, number: int) -> Voice:
    pcm = speech(0.4, seed_of(session, number))
    samples = pcm.astype(np.float32) / 32768
    return Voice(
        segment_id(HABLA, session, f"segment_{number:03d}.wav"),
        pcm_sha256(samples),
        pcm.astype("<i2").tobytes(),
        encode_flac(samples),
        (typed(session, number), f"maquina {typed(session, number)}", f"oido {session} {number}"),
    )


def _heard(utterances: list[Utterance]) -> list[Hypothesis]:
    found = []
    for each in utterances:
        number = each.sentence.rstrip(".").split()[-1]
        found.append(Hypothesis(each.audio_sha256, f"oido {each.session_id} {number}", 0.1, each.duration_s))
    return found


def _evaluate(lake: Lake, world: World, snapshot: Snapshot) -> None:
    """v2 is decoded, compared and reported, as `wer_report` leaves it."""
    options = DecodingOptions()
    everything = [each for split in ("train", "test") for each in read_utterances(lake, snapshot, split)]
    save_hypotheses(lake, ARTEFACT, options, {each.audio_sha256: each for each in _heard(everything)})
    test = list(read_utterances(lake, snapshot, "test"))
    base = [Hypothesis(each.audio_sha256, "", 0.1, each.duration_s) for each in test]
    comparison, records = compare_with_records(
        test,
        [
            Evaluated("base", "base", "b" * 64, options, base),
            Evaluated("v2", "candidate", ARTEFACT, options, _heard(test)),
        ],
        EvaluationSettings(bootstrap_draws=200),
        Provenance(
            snapshot_id=snapshot.id,
            conventions=snapshot.conventions,
            conventions_digest=snapshot.conventions_digest,
            hardware=None,
        ),
    )
    folder = world.settings.work_folder / "reports" / "v2"
    decision = decide(comparison, world.settings.promotion)
    files = write_report(comparison, decision, test, folder, "2026-03-01", records=records)
    value = {
        "comparison": lake.put_file(files.json),
        "html": lake.put_file(files.html),
        "markdown": lake.put_file(files.markdown),
        "utterances": lake.put_file(files.utterances),
        "word_errors": lake.put_file(files.word_errors),
        "verdict": "deploy",
        "snapshot": snapshot.id,
        "ctranslate2": ARTEFACT,
        "checkpoint": None,
    }
    lake.move_pointer("models/v2/report", value, None)


def _queue(lake: Lake, snapshot: Snapshot) -> None:
    back = Objection(1, ("digits",), "c" * 64, "d" * 64)
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
            objection=back if at % 2 else None,
        )
        for at, each in enumerate(read_utterances(lake, snapshot, "train"))
    ]
    save_queue(lake, items, NOW)


def _train(lake: Lake, world: World, snapshot: Snapshot) -> None:
    """An unfinished training's decoded clips, a served audio file, and a list of what was pushed."""
    work = world.settings.work_folder
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


def everything_in(lake_store, folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Every value of a store and every file of some folders, and the columns of every parquet table among them."""
    named = [(entry.key, lake_store.read(entry.key)) for entry in lake_store.list("")]
    named += [(str(path), path.read_bytes()) for folder in folders for path in folder.rglob("*") if path.is_file()]
    for name, data in named:
        yield name, data
        if data[:4] == b"PAR1":
            table = pq.read_table(io.BytesIO(data))
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


def traces(voice: Voice) -> list[bytes]:
    """The forms in which a voice and its text can stand in bytes."""
    found = [voice.pcm, voice.flac, base64.b64encode(voice.flac)]
    for text in voice.texts:
        found += [text.encode(), json.dumps(text)[1:-1].encode(), text.rstrip(".").encode()]
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def state(lake: Lake) -> dict[str, dict]:
    """All pointers as they stand."""
    found = {name: lake.pointer(name) for name in lake.pointers("")}
    return {name: dict(pointer.value) for name, pointer in found.items() if pointer is not None}
