"""The guide for app developers: its commands run against a real server, and its table of errors is the code's."""

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from habla_ml.inbox.database import open_database
from habla_ml.inbox.devices import create_enrolment_code
from habla_ml.inbox.schema import CLIPS, DATA_POINTS
from habla_ml.service import problems
from habla_ml.service.problems import Problem
from habla_ml_tests.testing.deployment_settings import PROJECT, write_settings
from habla_ml_tests.testing.encoded_audio import encode_audio_file
from habla_ml_tests.testing.forked_workers import ForkedWorkers

PAGE = (PROJECT / "docs" / "upload_api.md").read_text("utf-8")


@pytest.mark.slow
def test_the_commands_record_a_consent_store_a_clip_and_its_correction_and_withdraw(tmp_path: Path) -> None:
    database = open_database(write_settings(tmp_path, consent={"documents": str(PROJECT / "configs" / "consents")}))
    code = create_enrolment_code(database, "a phone", datetime.now(UTC), timedelta(hours=1))
    (tmp_path / "clip.m4a").write_bytes(encode_audio_file("m4a", 0.5))
    script = "\n".join(["set -eu", *re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)])
    with ForkedWorkers(tmp_path, workers=1) as service:
        variables = {"PATH": "/usr/bin:/bin:/usr/local/bin", "CODE": code, "HABLA": f"http://127.0.0.1:{service.port}"}
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r'"stands":(true|false)', done.stdout) == ["true", "false", "false", "false"]
    assert '"status":"stored"' in done.stdout
    assert '"status":"accepted"' in done.stdout
    with database.read() as connection:
        assert connection.scalar(select(CLIPS.c.contributor)) == "c-17"
        assert connection.scalar(select(DATA_POINTS.c.seen_text)) == "vamo a abrir el libro"
    database.close()


def test_the_table_of_errors_has_the_types_and_statuses_of_the_code() -> None:
    known = {each.type: int(each.status) for each in vars(problems).values() if isinstance(each, Problem)}
    rows = re.findall(r"^\| `(/problems/[a-z-]+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert len(rows) > 10
    assert {name: known.get(name) for name, _ in rows} == {name: int(status) for name, status in rows}
