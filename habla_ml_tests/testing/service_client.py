"""The real application with a clock that the test sets, and devices that are enrolled in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from habla_ml.inbox.devices import EnrolledDevice, create_enrolment_code, enrol_device
from habla_ml.service.app import create_app
from habla_ml.service.state import ServiceState
from habla_ml_tests.testing.deployment_settings import write_settings


class ServiceUnderTest:
    """A deployment's service; requests come from the address `client`."""

    def __init__(self, folder: Path, service: Mapping[str, Any] | None = None, **sections: Mapping[str, Any]) -> None:
        self.now = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)
        self.state = ServiceState(write_settings(folder, service=service or {}, **sections), lambda: self.now)
        self.app = create_app(self.state)
        self.client = self.make_client("192.0.2.1")

    def make_client(self, address: str) -> TestClient:
        """Return a client at a network address."""
        return TestClient(self.app, raise_server_exceptions=False, client=(address, 50_000))

    def enrol(self, label: str = "a phone") -> EnrolledDevice:
        """Return a new device."""
        code = create_enrolment_code(self.state.database, label, self.now, timedelta(hours=1))
        enrolled = enrol_device(self.state.database, code, self.now, timedelta(days=30))
        assert enrolled is not None
        return enrolled

    def authorise(self, label: str = "a phone") -> dict[str, str]:
        """Return the headers of a new device."""
        return {"Authorization": f"Bearer {self.enrol(label).token}"}
