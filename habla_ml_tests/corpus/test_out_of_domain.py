"""The set a model must not forget is whole or refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.out_of_domain import read_out_of_domain
from habla_ml.errors import CorpusError, InputError
from habla_ml_tests.recordings.world import V1, speech, write_wav

ONE = load_conventions(V1)


def table(folder: Path, rows: list[tuple[str, str]]) -> Path:
    path = folder / "fine_tune_dataset.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("audio_path", "transcript", "speaker"), *((*row, "Ana") for row in rows)])
    return path


def test_clips_come_with_their_text_in_the_tables_order_by_file_or_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_wav(tmp_path / f"{name}.wav", speech(seed=ord(name)))
    path = table(tmp_path, [("b.wav", "Buenos  días..."), ("a.wav", "Adiós.")])
    found = read_out_of_domain(path, ONE, 30)
    assert [each.sentence for each in found] == ["Buenos días…", "Adiós."]
    assert np.array_equal(found[0].audio * 32768, speech(seed=ord("b")).astype(np.float32))
    assert found[0].speaker == "Ana"
    assert found[0].duration_s == pytest.approx(0.4)
    again = read_out_of_domain(tmp_path, ONE, 30)
    assert [each.segment_id for each in again] == [each.segment_id for each in found]


def test_a_set_with_a_row_that_cannot_be_used_is_refused_whole(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", speech())
    path = table(tmp_path, [("a.wav", "Hola."), ("x.wav", "Hola."), ("a.wav", "[inaudible]")])
    with pytest.raises(
        CorpusError, match=r"2 rows cannot be used: row 2: x\.wav .*; row 3: a\.wav .*only markers"
    ):
        read_out_of_domain(path, ONE, 30)


def test_an_empty_table_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither"):
        read_out_of_domain(tmp_path, ONE, 30)
    with pytest.raises(CorpusError, match="it has no rows"):
        read_out_of_domain(table(tmp_path, []), ONE, 30)
