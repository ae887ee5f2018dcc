"""A client of the pages, as a browser at the machine or elsewhere, and a deployment with versions and releases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from habla_ml.evaluation.report import ReportContent, write_report
from habla_ml.inbox.accounts import invite
from habla_ml.lake import catalogue
from habla_ml.release.keys import open_signing
from habla_ml.release.publish import publish_release
from habla_ml.service.app import create_app
from habla_ml.service.state import ServiceState
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.full_comparison import make_full_comparison
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files

BROWSER = {"Accept": "text/html", "Accept-Language": "en", "Sec-Fetch-Site": "same-origin"}
NOW = datetime(2026, 11, 29, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Pages:
    """The pages of a deployment, and a browser at the machine where it runs."""

    state: ServiceState
    client: TestClient
    folder: Path

    def join(self, *rights: str) -> TestClient:
        """Return the browser of a person elsewhere with an account."""
        client = TestClient(
            self.client.app,
            "http://habla.school:8787",
            client=("203.0.113.7", 50_000),
            headers=BROWSER,
            follow_redirects=False,
        )
        code = invite(self.state.database, rights, datetime.now(UTC), timedelta(days=1))
        form = {"code": code, "name": f"Ana {'-'.join(rights)}", "password": "tres palabras juntas", "language": "en"}
        assert client.post("/join", data=form).status_code == 303
        return client


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return make_pages(tmp_path)


def make_pages(folder: Path, **consent: str) -> Pages:
    """Return the pages of an empty deployment below a folder."""
    documents = str(Path(__file__).parents[3] / "configs" / "consents")
    state = ServiceState(write_settings(folder, consent={"documents": documents, **consent}), lambda: NOW)
    client = TestClient(
        create_app(state),
        "http://127.0.0.1:8787",
        client=("127.0.0.1", 50_000),
        headers=BROWSER,
        follow_redirects=False,
    )
    return Pages(state, client, folder)


@pytest.fixture
def add_versions() -> Callable[[Pages], None]:
    return store_versions


def store_versions(pages: Pages) -> None:
    """Store the report of v2 and release v1 and v2."""
    comparison, utterances = make_full_comparison()
    files = write_report(ReportContent(comparison), utterances, pages.folder / "written")
    lake = pages.state.lake
    value = {"comparison": lake.put_file(files.json), "html": lake.put_file(files.html), "verdict": "deploy"}
    lake.move_pointer(catalogue.REPORT.name("v2"), value, None)
    store = pages.state.release_store
    signing = open_signing(pages.state.settings, store, NOW)
    for number, version in enumerate(("v1", "v2")):
        packed = make_release_files(pages.folder / version, version)
        moment = NOW - timedelta(days=20 - 10 * number)
        publish_release(store, None, "stable", make_draft(version), packed, moment, signing=signing)
