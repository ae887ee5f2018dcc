"""SQL that cannot leave its scratch folder, and that spills to it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from habla_ml.errors import LakeError
from habla_ml.lake import database as database_module
from habla_ml.lake.database import open_scratch_database
from habla_ml.scratch import SCRATCH_FOLDER

N_ROWS = 300_000


def test_a_database_reads_no_file_and_loads_no_extension(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n", "utf-8")
    with open_scratch_database(tmp_path) as database, pytest.raises(duckdb.PermissionException):
        database.fetch_rows(f"FROM read_csv('{tmp_path}/secret.csv')")
    with open_scratch_database(tmp_path) as database:
        for name in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access"):
            assert database.fetch_rows(f"SELECT current_setting('{name}')") == [(False,)]
    for refused in ("INSTALL httpfs", "SET enable_external_access = true", "SET memory_limit = '100GiB'"):
        with open_scratch_database(tmp_path) as database, pytest.raises(duckdb.Error):
            database.run(refused)
    assert list((tmp_path / SCRATCH_FOLDER).iterdir()) == []


@pytest.mark.long
def test_tables_larger_than_the_memory_limit_are_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MEMORY_LIMIT", "32MiB")
    parts = [pa.record_batch({"number": np.arange(first, first + 50_000)}) for first in range(0, N_ROWS, 50_000)]
    with open_scratch_database(tmp_path) as database:
        sql = "CREATE TABLE names AS SELECT number, repeat(md5(number::VARCHAR), 4) AS name FROM batches"
        assert database.load(sql, parts, parts[0].schema) == N_ROWS
        ((groups, total),) = database.fetch_rows(
            "SELECT count(*), sum(number) FROM (SELECT name, max(number) AS number FROM names GROUP BY name)"
        )
        stored = sum(each.stat().st_size for each in (tmp_path / SCRATCH_FOLDER).rglob("*") if each.is_file())
    assert (groups, total) == (N_ROWS, N_ROWS * (N_ROWS - 1) // 2)
    assert stored > 2**24


@pytest.mark.long
def test_a_lack_of_memory_or_disk_is_an_error_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "MEMORY_LIMIT", "5MiB")
    with pytest.raises(LakeError, match="free some space"), open_scratch_database(tmp_path) as database:
        database.fetch_table("SELECT md5(number::VARCHAR) AS name FROM range(1000000) AS t(number) ORDER BY name")


@pytest.mark.parametrize("is_on_disk", [True, False])
def test_rows_go_through_the_tables_of_a_database_unchanged(tmp_path: Path, is_on_disk: bool) -> None:
    rows = pa.table({"name": ["ana", "eva", "luis"], "age": [8, 9, None]})
    with open_scratch_database(tmp_path if is_on_disk else None) as database:
        sql = "CREATE TABLE people AS SELECT * FROM batches WHERE name <> ?"
        assert database.load(sql, rows.to_batches(), rows.schema, ["eva"]) == 2
        database.load_columns("INSERT INTO people FROM batches", {"name": pa.array(["sol"]), "age": pa.array([7])})
        database.run("UPDATE people SET age = ? WHERE age IS NULL", [10])
        assert database.fetch_rows("FROM people ORDER BY name") == [("ana", 8), ("luis", 10), ("sol", 7)]
        assert database.fetch_rows("SELECT age FROM people WHERE name = ?", ["sol"]) == [(7,)]
        found = database.fetch_table("SELECT name FROM people WHERE age >= ? ORDER BY name", [8])
        assert found.to_pylist() == [{"name": "ana"}, {"name": "luis"}]
        batches = list(database.iterate_batches("SELECT sum(age) AS total FROM people"))
        assert pa.Table.from_batches(batches).to_pylist() == [{"total": 25}]
        twice = database.query("SELECT name, 2 * age AS age FROM batches ORDER BY name", rows.to_batches(), rows.schema)
        assert twice["age"].to_pylist() == [16, 18, None]
        ((spilled,),) = database.fetch_rows("SELECT current_setting('temp_directory')")
        assert (spilled == "") is not is_on_disk
        with pytest.raises(duckdb.CatalogException):
            database.fetch_rows("FROM batches")
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_a_database_of_memory_alone_names_no_folder_when_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MEMORY_LIMIT", "5MiB")
    with pytest.raises(LakeError, match="join tables with 5MiB of memory"), open_scratch_database(None) as database:
        database.fetch_table("SELECT md5(number::VARCHAR) AS name FROM range(1000000) AS t(number) ORDER BY name")
