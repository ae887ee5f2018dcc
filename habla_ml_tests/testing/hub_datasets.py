"""A small corpus with a register, and a hub to push it to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from habla_ml.annotation.sources import collect_events
from habla_ml.consent.admission import Consents, load_consents
from habla_ml.consent.register import Contributor
from habla_ml.corpus.build import build_day
from habla_ml.corpus.hub_dataset.push import PushedSnapshot, push_snapshot
from habla_ml.corpus.hub_dataset.pushes import HubDataset, read_hub_dataset
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.corpus.splits import make_snapshot
from habla_ml.erasure.erase import ErasureReport, erase, plan_erasure
from habla_ml.recordings.ingest import ingest_day
from habla_ml.settings import Settings
from habla_ml.settings.hub import HubDatasetSettings
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_workspace, write_corrections, write_session
from habla_ml_tests.testing.hub_releases import hub
from habla_ml_tests.testing.hub_server import HUB_TOKEN, StubHub
from habla_ml_tests.testing.hub_storage import StubRepository

__all__ = ["HUB_TOKEN", "hub"]

DATASET_NAME: Final = "our-school/classroom-speech"
DAY: Final = "2026-02-16"
TEACHER: Final = "Remedios"
WITHDRAWN: Final = "c-017"


def name_session(number: int) -> str:
    """Return the name of a session, which has the name of a person."""
    return f"ConPaquita{number}_20260216_10000{number}"


class DatasetDeployment:
    """A corpus of five sessions with two segments each; the hub has its dataset after `push`."""

    def __init__(self, root: Path, hub: StubHub, sessions: int = 5) -> None:
        self.hub, self.lines = hub, list[str]()
        root.mkdir(parents=True, exist_ok=True)
        self.registry = root / "consents.yaml"
        self.write_register()
        people = root / "people.yaml"
        people.write_text(
            f"people: [{{name: {TEACHER}, role: teacher, labels: [Speaker A], sessions: ['*[0-2]_2026*']}}]"
        )
        self.workspace: HablaWorkspace = make_workspace(
            root, consent={"registry": str(self.registry)}, corpus={"speakers": str(people)}
        )
        self.lake = self.workspace.lake
        chosen = HubDatasetSettings(repository=DATASET_NAME, endpoint=hub.url)
        plain = self.workspace.settings
        self.settings: Settings = plain.model_copy(
            update={"corpus": plain.corpus.model_copy(update={"hub_dataset": chosen})}
        )
        self.snapshot = self.record(range(sessions))

    def record(self, numbers: range) -> Snapshot:
        """Record and correct sessions; return the new snapshot."""
        for number in numbers:
            session = write_session(self.workspace.recordings, name_session(number), 2, seed=100 * number)
            write_corrections(session, {1: f"Frase {number} uno.", 2: f"Frase {number} dos."})
        ingest_day(self.workspace.recordings, DAY, self.lake, self.settings, NOW)
        collect_events(self.lake, DAY, self.settings, NOW)
        build_day(self.lake, DAY, self.workspace.conventions, self.settings)
        self.snapshot = make_snapshot(self.lake, self.settings, self.workspace.conventions)
        return self.snapshot

    def write_register(self, **entry: Any) -> None:
        """Write the register with one contributor, whose session is the first one unless `entry` says otherwise."""
        found = {"contributor": WITHDRAWN, "given": "2026-01-01", "sessions": [name_session(0)], **entry}
        self.registry.write_text(yaml.safe_dump({"contributors": [found]}), "utf-8")

    def load_consents(self) -> Consents:
        """Return the consents of now."""
        return load_consents(self.settings, datetime.now(UTC))

    def load_contributor(self) -> Contributor:
        """Return the register's contributor."""
        found = self.load_consents().register.find(WITHDRAWN)
        assert found is not None
        return found

    def push(self, consents: Consents | None = None) -> PushedSnapshot:
        """Push the newest snapshot."""
        consents = consents or self.load_consents()
        return push_snapshot(self.lake, self.snapshot, self.settings, consents, self.lines.append)

    def erase(self, **entry: Any) -> ErasureReport:
        """Withdraw the contributor's consent and erase them."""
        self.write_register(withdrawn="2026-05-01", **entry)
        plan = plan_erasure(self.lake, self.load_contributor(), self.settings, NOW)
        return erase(self.lake, plan, self.settings, NOW, self.lines.append)

    @property
    def recorded(self) -> HubDataset:
        """What the lake knows of the repository."""
        return read_hub_dataset(self.lake, DATASET_NAME, self.hub.url)

    @property
    def repository(self) -> StubRepository:
        """The repository, as the hub has it."""
        return self.hub.repositories[f"datasets/{DATASET_NAME}"]

    def list_stored_bytes(self) -> list[bytes]:
        """Return every byte that the hub has for the repository: files of all commits, and large files."""
        files = [data for commit in self.repository.commits.values() for data in commit.files.values()]
        return [*files, *self.repository.large_files.values()]


@pytest.fixture
def deployment(tmp_path: Path, hub: StubHub) -> DatasetDeployment:
    return DatasetDeployment(tmp_path, hub)
