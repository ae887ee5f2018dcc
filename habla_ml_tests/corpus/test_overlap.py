"""Sentences that held-out segments share with train."""

from __future__ import annotations

from pathlib import Path

from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.overlap import count_seen_sentences, find_shared_sentences
from habla_ml.corpus.splits import make_snapshot
from habla_ml.lake.table import read_parquet
from habla_ml_tests.testing.habla_sessions import V1, make_workspace
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
    assert count_seen_sentences(lake, made) == {"train": 0, "validation": 3, "test": 3}
    assert find_shared_sentences(lake, made, 0) == ()
    table = read_parquet(lake.fetch_path(made.segments)).to_pylist()
    (shown,) = [row for row in table if row["segment_id"] == shared.held_out]
    assert shown["split"] != "train"
    assert shown["sentence"] in {"hola", "¡Hola!"}
    for row in table:
        is_repeated = None if row["split"] == "train" else not row["sentence"].startswith("frase")
        assert row["is_seen_sentence"] is is_repeated
