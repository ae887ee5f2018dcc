"""The examples of the guide for app developers run as they are printed, against a real server."""

from __future__ import annotations

import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from habla_ml.client.trusted_keys import get_keys_path
from habla_ml.lake.factory import open_store
from habla_ml.release.keys import open_signing
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.deployment_settings import PROJECT
from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files
from habla_ml_tests.testing.served_deployment import serve_deployment


@pytest.mark.slow
def test_the_guide_s_examples_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recording.m4a").write_bytes(b"bytes of an audio file")
    files = make_release_files(tmp_path, "v2")
    monkeypatch.chdir(tmp_path)
    source = "\n".join(
        re.findall(r"^```python\n(.*?)^```", (PROJECT / "docs/app_developers.md").read_text("utf-8"), re.M | re.S)
    )
    with serve_deployment(tmp_path) as server, serve_folder(tmp_path / "cdn") as cdn:
        store = open_store(server.settings.release.store)
        signing = open_signing(server.settings, store, datetime.now(UTC))
        publish_release(store, cdn, "stable", make_draft("v2"), files, signing=signing)
        (tmp_path / "keys.json").write_bytes(store.read(get_keys_path(1)))
        places = {
            "https://habla.example.org": server.url,
            "7Q2M-X0KD-93FA": server.make_code(),
            "https://models.example.org": cdn,
        }
        for printed, real in places.items():
            assert source.count(printed) == 1
            source = source.replace(printed, real)
        names: dict[str, Any] = {}
        exec(compile(source, "app_developers.md", "exec"), names)  # noqa: S102 (our own page)
    offer = names["offer"]
    assert (tmp_path / "models/models").joinpath(names["updater"].model_folder.name, "config.json").is_file()
    with zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        assert "Los niños no han venido hoy." in archive.read("corrections.jsonl").decode()
    *lines, held, withdrawn = capsys.readouterr().out.splitlines()
    assert lines[:4] == [names["text"].title, "1 1 1 0", "frozenset()", "{}"]
    assert re.fullmatch(r"[0-9a-f-]{36} True None", lines[4])
    assert lines[5] == f"{offer.statement.version} {offer.archive.size_bytes} False"
    assert offer.archive.url.startswith(f"{cdn}/releases/v2/habla-coreml-v2-")
    assert (held, withdrawn) == ("1 1 ()", "False []")
