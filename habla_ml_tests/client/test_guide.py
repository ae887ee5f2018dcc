"""The examples of the guide for app developers run as they are printed, against a real server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from habla_ml.inbox.database import open_database
from habla_ml.inbox.devices import create_enrolment_code
from habla_ml.lake.factory import open_store
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.deployment_settings import PROJECT, write_settings
from habla_ml_tests.testing.forked_workers import ForkedWorkers
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files


def test_the_guide_s_examples_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_settings(tmp_path)
    database = open_database(settings)
    code = create_enrolment_code(database, "a phone", datetime.now(UTC), timedelta(hours=1))
    give_consent(database, "pupil-7")
    files = make_release_files(tmp_path, "v2")
    publish_release(open_store(settings.release.store), "https://cdn.example.org", "stable", make_draft("v2"), files)
    (tmp_path / "recording.m4a").write_bytes(b"bytes of an audio file")
    monkeypatch.chdir(tmp_path)
    source = "\n".join(
        re.findall(r"^```python\n(.*?)^```", (PROJECT / "docs/app_developers.md").read_text("utf-8"), re.M | re.S)
    )
    with ForkedWorkers(tmp_path, workers=1) as workers:
        for printed, real in (
            ("https://habla.example.org", f"http://127.0.0.1:{workers.port}"),
            ("7Q2M-X0KD-93FA", code),
        ):
            assert source.count(printed) == 1
            source = source.replace(printed, real)
        names: dict[str, Any] = {}
        exec(compile(source, "app_developers.md", "exec"), names)  # noqa: S102 (our own page)
    database.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 1 0"
    assert lines[1] == "{}"
    assert re.fullmatch(r"[0-9a-f-]{36} True None", lines[2])
    assert re.fullmatch(r"\S+-v2 https://cdn.example.org/releases/v2/habla-coreml-v2-\S+ [0-9a-f]{64} [0-9]+", lines[3])
