"""Withdraw, erase and search a contributor's data in a full lake."""

from __future__ import annotations

from pathlib import Path

from habla_ml.consent.tombstones import TOMBSTONES_FORMAT
from habla_ml.corpus.snapshot import read_utterances
from habla_ml.erasure.erase import ErasureReport, erase, plan_erasure
from habla_ml.lake import Store
from habla_ml.settings import Settings
from habla_ml_tests.testing.full_lake import (
    ENROLLED_SPEAKER,
    FullLake,
    SegmentTraces,
    encode_traces,
    iterate_stored_bytes,
    list_sessions,
    load_contributor,
    write_register,
)
from habla_ml_tests.testing.habla_sessions import NOW


def list_split_sessions(full_lake: FullLake, split: str) -> list[str]:
    return sorted({each.session_id for each in read_utterances(full_lake.lake, full_lake.snapshot, split)})


def withdraw(full_lake: FullLake) -> set[tuple[str, int]]:
    """Withdraw a training session, the first segment of every test session and an enrolled name; return all of them."""
    trained, tested = list_split_sessions(full_lake, "train")[0], list_split_sessions(full_lake, "test")
    theirs = {each for each in full_lake.traces_by_segment if each[0] == trained}
    theirs |= {(name, 1) for name in tested}
    theirs |= {(name, 4) for name in list_sessions() if name.startswith("clase10")}
    entry = {
        "contributor": "c-017",
        "given": "2026-01-01",
        "withdrawn": "2026-05-01",
        "sessions": [trained],
        "segments": [full_lake.traces_by_segment[name, 1].segment_id for name in tested],
        "speakers": [{"label": ENROLLED_SPEAKER}],
    }
    write_register(full_lake.workspace, entry)
    return theirs


def erase_all(full_lake: FullLake, settings: Settings | None = None) -> ErasureReport:
    """Erase all data of the register's first contributor."""
    settings = settings or full_lake.workspace.settings
    return erase(
        full_lake.lake,
        plan_erasure(full_lake.lake, load_contributor(full_lake.workspace), settings, NOW),
        settings,
        NOW,
    )


def assert_nowhere(store: Store, folders: list[Path], voices: list[SegmentTraces]) -> None:
    """Assert that the store and the folders hold no trace of the voices; the tombstones may name the sounds."""
    wanted = [(voice, trace) for voice in voices for trace in encode_traces(voice)]
    for name, data in iterate_stored_bytes(store, folders):
        for voice, trace in wanted:
            assert trace not in data, f"{trace[:60]!r} of {voice.segment_id} is still in {name}"
        assert ENROLLED_SPEAKER.encode() not in data, name
        if TOMBSTONES_FORMAT.encode() not in data:
            assert not any(voice.sound.encode() in data for voice in voices), f"a sound is still in {name}"


def replace_registry(settings: Settings) -> Settings:
    """Return the settings without a register, so that only tombstones apply."""
    return settings.model_copy(update={"consent": settings.consent.model_copy(update={"registry": None})})
