"""The latest model over HTTP, which is the CDN's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from habla_ml.release.channel import Delivery
from habla_ml.release.model_info import get_model_info_key
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files
from habla_ml_tests.testing.service_client import ServiceUnderTest

if TYPE_CHECKING:
    from httpx2 import Response


@pytest.fixture
def service(tmp_path: Path) -> ServiceUnderTest:
    service = ServiceUnderTest(tmp_path)
    files, delivery = make_release_files(tmp_path, "v2"), Delivery(minimum_app_version="1.4")
    address = "https://models.example.org"
    publish_release(service.state.release_store, address, "stable", make_draft("v2"), files, NOON, delivery=delivery)
    return service


def ask(service: ServiceUnderTest, tag: str | None = None, **query: str) -> Response:
    headers = {} if tag is None else {"If-None-Match": tag}
    return service.client.get("/latest-model-info", params={"platform": "ios", **query}, headers=headers)


def test_the_answer_is_the_file_of_the_cdn(service: ServiceUnderTest) -> None:
    for platform in ("ios", "habla"):
        answer = ask(service, platform=platform, channel="stable", app_version="1.4.0", current="2026.11.07-v1")
        assert answer.content == service.state.release_store.read(get_model_info_key("stable", platform))
        assert answer.headers["Cache-Control"] == "public, max-age=60"
        assert {"version", "url"} <= answer.json().keys()


def test_a_known_answer_is_not_sent_again(service: ServiceUnderTest) -> None:
    tag = ask(service).headers["ETag"]
    for header in (tag, f'"other", W/{tag}', "*"):
        again = ask(service, header)
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert ask(service, '"other"').status_code == 200


def test_there_is_nothing_to_install_for_a_current_app_and_for_an_old_one(service: ServiceUnderTest) -> None:
    assert ask(service, current="2026.11.21-v2").status_code == 204
    assert ask(service, app_version="1.3.9").status_code == 204
    assert ask(service, app_version="1.10").status_code == 200


@pytest.mark.parametrize("query", [{"platform": "watch"}, {"channel": "beta"}])
def test_an_unknown_platform_or_channel_is_a_problem(service: ServiceUnderTest, query: dict[str, str]) -> None:
    answer = service.client.get("/latest-model-info", params={"platform": "ios", **query})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize("query", [{"channel": "../x"}, {"app_version": "1.x"}, {"current": "v" * 51}])
def test_wrong_values_are_refused(service: ServiceUnderTest, query: dict[str, str]) -> None:
    assert service.client.get("/latest-model-info", params={"platform": "ios", **query}).status_code == 422
