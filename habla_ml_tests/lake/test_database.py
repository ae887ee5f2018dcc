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


def test_a_lack_of_memory_or_disk_is_an_error_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "MEMORY_LIMIT", "5MiB")
    with pytest.raises(LakeError, match="free some space"), open_scratch_database(tmp_path) as database:
        database.fetch_table("SELECT md5(number::VARCHAR) AS name FROM range(1000000) AS t(number) ORDER BY name")
