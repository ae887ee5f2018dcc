"""The fixtures of the wire are what the service, the Python client and the Swift sources understand."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import tree_sitter_swift
from pydantic import BaseModel
from tree_sitter import Language, Node, Parser

from habla_ml.client import updates, wire
from habla_ml.client.channel_statement import ChannelStatement, StatedArchive, read_statement
from habla_ml.client.signatures import Signature, SignedText
from habla_ml.client.trusted_keys import TrustedKeys, read_keys_document
from habla_ml.release.model_info import ModelInfo
from habla_ml.service.api import batches, clips, consents, contributors, devices
from habla_ml_tests.testing.deployment_settings import PROJECT
from habla_ml_tests.testing.service_client import ServiceUnderTest

FIXTURES = PROJECT / "clients/fixtures"
SWIFT = PROJECT / "clients/swift/Sources/HablaClient"
SERVER: dict[str, type[BaseModel] | None] = {
    "data_point": batches.DataPoint,
    "batch": batches.Batch,
    "batch_result": batches.BatchResult,
    "item_result": batches.ItemResult,
    "clip_receipt": clips.ClipReceipt,
    "enrolment_request": devices.EnrolmentRequest,
    "enrolment": devices.Enrolment,
    "consent_document": consents.ConsentDocument,
    "consent_documents": consents.ConsentDocuments,
    "consent_request": consents.ConsentRequest,
    "consent": consents.Consent,
    "held_data": contributors.HeldData,
    "latest_model": ModelInfo,
    "signature": Signature,
    "signed_text": SignedText,
    "problem": None,
}
"""The service's model of each fixture; a problem has only a schema."""
CLIENT: dict[str, type[BaseModel]] = {
    "data_point": wire.SentDataPoint,
    "batch_result": wire.BatchReply,
    "item_result": wire.ItemReply,
    "clip_receipt": wire.ClipAcknowledgement,
    "enrolment": wire.DeviceEnrolment,
    "consent_document": wire.OfferedConsentText,
    "consent_documents": wire.OfferedConsentTexts,
    "consent_request": wire.SentConsent,
    "consent": wire.ConsentReply,
    "held_data": wire.ContributorRecord,
    "latest_model": wire.LatestModel,
}


def load(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))


def name_of_type(fixture: str) -> str:
    return "".join(map(str.capitalize, fixture.split("_")))


def read_swift_types() -> dict[str, dict[str, str]]:
    """Return the type of each stored property, by `Codable` struct."""
    source = "\n".join(each.read_text("utf-8") for each in sorted(SWIFT.glob("*.swift")))
    assert "CodingKeys" not in source, "the test takes the names of properties as keys"
    bodies = re.findall(r"^public struct (\w+): Codable[^{]*\{\n(.*?)^\}", source, re.MULTILINE | re.DOTALL)
    return {name: dict(re.findall(r"^    public let (\w+): (\S+)$", body, re.MULTILINE)) for name, body in bodies}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> ServiceUnderTest:
    return ServiceUnderTest(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def document(service: ServiceUnderTest) -> dict[str, Any]:
    return service.app.openapi()


@pytest.fixture(scope="module")
def problem(service: ServiceUnderTest) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get("/latest-model-info", params={"platform": "watch"}).json()
    return found


def find_syntax_errors(node: Node) -> list[int]:
    """Return the lines of what the grammar does not accept."""
    if not node.has_error:
        return []
    own = [node.start_point.row + 1] if node.type == "ERROR" or node.is_missing else []
    return own + [line for each in node.children for line in find_syntax_errors(each)]


@pytest.mark.parametrize("path", sorted(SWIFT.glob("*.swift")), ids=lambda each: str(each.name))
def test_swift_sources_have_the_syntax_of_swift(path: Path) -> None:
    parser = Parser(Language(tree_sitter_swift.language()))
    assert find_syntax_errors(parser.parse(path.read_bytes()).root_node) == []
    broken = parser.parse(path.read_bytes().replace(b"{", b"", 1)).root_node
    assert find_syntax_errors(broken) != []


def test_every_fixture_has_a_model() -> None:
    assert {each.stem for each in FIXTURES.glob("*.json")} == {*SERVER, "rollout"}
    assert {name_of_type(each) for each in SERVER} == read_swift_types().keys()


@pytest.mark.parametrize("name", SERVER)
def test_the_service_accepts_the_fixture(name: str, document: dict[str, Any], problem: dict[str, Any]) -> None:
    found, model = load(name), SERVER[name]
    if model is not None:
        assert model.model_validate(found, strict=False).model_dump().keys() == found.keys()
    if name == "batch":
        assert [batches.DataPoint.model_validate(each).id for each in found["items"]]
    if name == "problem":
        assert found.keys() == problem.keys()
        assert [type(each) for each in found.values()] == [type(problem[key]) for key in found]
        return
    schemas = document["components"]["schemas"]
    assert model is not None
    # A data point is inside the batch, so that one that is none is refused alone.
    schema = schemas.get(model.__name__) or batches.DataPoint.model_json_schema()
    assert schema["title"] == model.__name__
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(found)


@pytest.mark.parametrize("name", CLIENT)
def test_the_python_client_understands_the_fixture(name: str) -> None:
    model = CLIENT[name].model_validate_json(json.dumps(load(name)))
    if isinstance(model, wire.SentRecord):
        assert json.loads(model.model_dump_json()) == load(name)
    else:
        assert set(type(model).model_fields) <= load(name).keys()


@pytest.mark.parametrize("name", SERVER)
def test_the_swift_type_has_the_fixture_s_keys_and_kinds(name: str) -> None:
    properties, found = read_swift_types()[name_of_type(name)], load(name)
    assert properties.keys() == found.keys()
    kinds = {"String": str, "Int": int, "Bool": bool}
    for key, value in found.items():
        kind = properties[key]
        if value is None:
            assert kind.endswith("?"), key
        elif isinstance(value, dict):
            assert kind.removesuffix("?") in map(name_of_type, SERVER), key
        elif not kind.startswith("["):
            assert type(value) is kinds[kind.removesuffix("?")], key
    model = SERVER[name]
    if model is not None:
        nullable = {key for key, each in model.model_fields.items() if type(None) in get_args(each.annotation)}
        assert nullable == {key for key, kind in properties.items() if kind.endswith("?")}


def test_the_consent_names_the_digest_of_the_text_that_was_offered() -> None:
    text, consent = load("consent_document"), load("consent_request")
    assert hashlib.sha256(text["text"].encode()).hexdigest() == text["digest"] == consent["documentDigest"]
    assert load("consent_documents")["documents"] == [text]


def test_a_share_of_devices_is_the_same_in_both_clients() -> None:
    for each in load("rollout"):
        chosen = [updates.is_in_rollout(each["installation"], each["version"], percent) for percent in range(101)]
        assert chosen == [percent > each["place"] for percent in range(101)]
    many = [updates.is_in_rollout(f"device-{n}", "2026.11.21-v2", 25) for n in range(4_000)]
    assert 900 < sum(many) < 1_100


def test_the_fixtures_of_a_release_are_signed_as_clients_verify_it() -> None:
    _, keys = read_keys_document((FIXTURES / "release" / "keys_1.json").read_bytes())
    latest = (FIXTURES / "release" / "latest.json").read_bytes()
    statement = read_statement(latest, keys, "stable", datetime(2026, 11, 22, tzinfo=UTC), 1)
    assert {*statement.models} == {"ios", "habla"}
    signed = load("latest_model")["signed"]
    assert signed == load("signed_text") == json.loads(latest)["signed"]
    assert load("signature") in signed["signatures"]


@pytest.mark.parametrize("model", [TrustedKeys, ChannelStatement, StatedArchive])
def test_the_swift_type_of_a_signed_text_has_names_of_the_python_one(model: type[BaseModel]) -> None:
    source = (SWIFT / "SignedReleases.swift").read_text("utf-8")
    found = re.search(
        rf"^public struct {model.__name__}: Decodable[^{{]*\{{\n(.*?)^\}}", source, re.MULTILINE | re.DOTALL
    )
    assert found is not None
    names = re.findall(r"^    public let (\w+): ", found[1], re.MULTILINE)
    assert {re.sub(r"[A-Z]", lambda each: f"_{each[0].lower()}", name) for name in names} <= set(model.model_fields)


def test_versions_of_apps_are_compared_as_numbers() -> None:
    assert updates.is_app_new_enough("1.10", "1.9.3")
    assert updates.is_app_new_enough("1.4", "1.4.0")
    assert not updates.is_app_new_enough("1.3.9", "1.4")
    assert updates.is_app_new_enough("1", None)
