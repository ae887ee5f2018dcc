"""A local service, and credentials for every client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from habla_ml.lake import Lake
from habla_ml_tests.testing.transcription_service import FakeTranscriptionService

KEY = "secret-key-0123456789"


def spent_usd(lake: Lake, service: str, month: str) -> float:
    """Return the stored sum of a month (`YYYY-MM`)."""
    pointer = lake.read_pointer(f"spending/{service}/{month}")
    return 0.0 if pointer is None else float(pointer.value["spent_usd"])


@pytest.fixture
def fake_service() -> Iterator[FakeTranscriptionService]:
    service = FakeTranscriptionService()
    yield service
    service.close()


@pytest.fixture(scope="session")
def google_account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service account file with a private key made for the tests."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("google") / "account.json"
    account = {
        "type": "service_account",
        "project_id": "a-school",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "habla@a-school.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path.write_text(json.dumps(account))
    return path


@pytest.fixture
def credentials(google_account: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the credentials of every service; return the key, which no message may contain."""
    # Google's library also sends a request to Google about the account; this proxy blocks it.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DEEPGRAM_API_KEY", KEY)
    monkeypatch.setenv("AZURE_SPEECH_KEY", KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_account))
    return KEY
