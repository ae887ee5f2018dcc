"""What held-out segments share with train."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.overlap import find_near_duplicates, find_shared_sentences
from habla_ml.corpus.splits import make_snapshot
from habla_ml.lake.table import read_parquet
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    V1,
    make_noise,
    make_workspace,
    write_corrections,
    write_session,
    write_wav,
)
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

DAY = "2026-02-16"


def test_a_sentence_in_two_splits_is_counted_ignoring_case_and_punctuation(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    lines = [AnnotatedSegmentSpec(f"s{n}", 1, sentence="¡Hola!" if n % 2 else "hola") for n in range(30)]
    lines += [AnnotatedSegmentSpec(f"s{n}", 2, sentence=f"frase {n}") for n in range(30)]
    write_corpus_day(lake, DAY, lines, load_conventions(V1))
    made = make_snapshot(lake, make_workspace(tmp_path).settings, load_conventions(V1))
    (shared,) = find_shared_sentences(lake, made)
    assert (shared.train, shared.validation, shared.test) == (24, 3, 3)
    table = read_parquet(lake.fetch_path(made.segments)).to_pylist()
    (shown,) = [row for row in table if row["segment_id"] == shared.held_out]
    assert shown["split"] != "train"
    assert shown["sentence"] in {"hola", "¡Hola!"}


def test_a_quieter_noisy_copy_of_test_audio_is_found_and_other_audio_is_not(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    for number in range(8):
        session = write_session(workspace.recordings, f"{number}_20260216_10000{number}", 1, seconds=2.0)
        write_corrections(session, {1: f"Frase {number} uno."})
    publish = lambda: (  # noqa: E731
        ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW),
        collect_events(workspace.lake, DAY, workspace.settings, NOW),
        build_day(workspace.lake, DAY, workspace.conventions, workspace.settings),
    )
    publish()
    made = make_snapshot(workspace.lake, workspace.settings, workspace.conventions)
    assert find_near_duplicates(workspace.lake, made) == ()

    rows = read_parquet(workspace.lake.fetch_path(made.segments)).to_pylist()
    test = next(row for row in rows if row["split"] == "test")
    train = next(row for row in rows if row["split"] == "train")
    original = make_noise(2.0, sum(test["session_id"].encode()) * 1000 + 1)
    copy = 0.5 * original[800:] + np.random.default_rng(7).normal(0, 20, len(original) - 800)
    write_wav(workspace.recordings / train["session_id"] / "segment_002.wav", copy.astype(np.int16))
    write_corrections(workspace.recordings / train["session_id"], {1: "Una frase.", 2: "Otra frase más."})
    publish()
    (found,) = find_near_duplicates(
        workspace.lake, make_snapshot(workspace.lake, workspace.settings, workspace.conventions)
    )
    assert found.held_out == test["segment_id"]
    assert found.bit_errors < 0.25
