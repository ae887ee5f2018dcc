"""Released models on a hub: private, one commit and a tag for each version, whole after a kill."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from habla_ml.errors import HablaError, PointerMovedError, ReleaseError, ServiceError, SettingsError
from habla_ml.settings.hub import HubSettings
from habla_ml_tests.testing.hub_releases import HUB_NAME, HubReleases, hub, hub_releases
from habla_ml_tests.testing.hub_server import HUB_TOKEN
from habla_ml_tests.testing.hub_storage import HubRefusalError, StubCommit, StubRepository
from habla_ml_tests.testing.process_kill import run_until_killed

__all__ = ["hub", "hub_releases"]

MODEL_FILES = {"config.json", "model.safetensors"}
CT2_FILES = {"ctranslate2/config.json", "ctranslate2/sub/weights.bin"}
OWN_FILES = {".gitattributes", "README.md", "habla_release.json"}


def test_a_release_is_one_commit_with_a_tag_in_a_private_repository(hub_releases: HubReleases) -> None:
    published = hub_releases.publish(hub_releases.release("v2"))

    found = hub_releases.repository
    assert found.private
    assert len(found.commits) == 2
    assert found.tags == {"v2": published.commit}
    assert found.branches == {"main": published.commit}
    assert found.files("v2").keys() == MODEL_FILES | CT2_FILES | OWN_FILES
    assert found.files("v2")["model.safetensors"] == b"weights of v2" * 100
    record = json.loads(found.files("v2")["habla_release.json"])
    assert {each["path"] for each in record["files"]} == MODEL_FILES | CT2_FILES
    assert published.is_new


def test_a_repetition_changes_nothing(hub_releases: HubReleases) -> None:
    manifest = hub_releases.release("v2")
    first = hub_releases.publish(manifest)
    commits, writes = dict(hub_releases.repository.commits), hub_releases.hub.calls("PUT", "/lfs/")

    second = hub_releases.publish(manifest)

    assert (second.commit, second.is_new) == (first.commit, False)
    assert hub_releases.repository.commits == commits
    assert hub_releases.hub.calls("PUT", "/lfs/") == writes
    assert hub_releases.hub.calls("POST", "/commit/") == 1


def test_a_later_version_replaces_the_files_of_the_earlier_one_and_keeps_those_of_others(
    hub_releases: HubReleases,
) -> None:
    hub_releases.publish(hub_releases.release("v1", ("added_tokens.json",)))
    found = hub_releases.repository
    found.add("main", {**found.files("main"), "LICENSE": b"MIT"}, "a person adds a file")

    hub_releases.publish(hub_releases.release("v2"))

    assert found.files("v2").keys() == MODEL_FILES | CT2_FILES | OWN_FILES | {"LICENSE"}
    assert "added_tokens.json" in found.files("v1")
    assert found.files("v1")["model.safetensors"] == b"weights of v1" * 100


def test_an_earlier_version_does_not_replace_a_later_one(hub_releases: HubReleases) -> None:
    earlier = hub_releases.release("v1")
    hub_releases.publish(hub_releases.release("v2"))
    head = hub_releases.repository.branches["main"]

    with pytest.raises(ReleaseError, match="already has v2, a later model than v1"):
        hub_releases.publish(earlier)

    assert hub_releases.repository.branches["main"] == head


def test_the_model_for_habla_can_have_a_branch(hub_releases: HubReleases) -> None:
    first = hub_releases.release("v1")
    hub_releases.publish(first, "branch")
    published = hub_releases.publish(hub_releases.release("v2"), "branch")

    found = hub_releases.repository
    assert found.tags.keys() == {"v1", "v1-ctranslate2", "v2", "v2-ctranslate2"}
    assert found.branches["ctranslate2"] == found.tags["v2-ctranslate2"] == published.ctranslate2_commit
    assert found.files("v2-ctranslate2").keys() == {"config.json", "sub/weights.bin"} | OWN_FILES
    assert found.files("v2").keys() == MODEL_FILES | OWN_FILES


def test_the_place_of_the_model_for_habla_can_change_between_versions(hub_releases: HubReleases) -> None:
    hub_releases.publish(hub_releases.release("v1"), "folder")
    hub_releases.publish(hub_releases.release("v2"), "branch")
    found = hub_releases.repository
    assert found.files("v2").keys() == MODEL_FILES | OWN_FILES
    assert found.files("v2-ctranslate2").keys() == {"config.json", "sub/weights.bin"} | OWN_FILES
    assert found.files("v1").keys() == MODEL_FILES | CT2_FILES | OWN_FILES


def test_the_model_for_habla_can_be_left_out(hub_releases: HubReleases) -> None:
    hub_releases.publish(hub_releases.release("v2"), "none")
    assert hub_releases.repository.files("v2").keys() == MODEL_FILES | OWN_FILES
    assert "ctranslate2" not in hub_releases.repository.files("v2")["README.md"].decode()


def test_a_public_repository_gets_nothing(hub_releases: HubReleases) -> None:
    manifest = hub_releases.release("v2")
    hub_releases.hub.repositories[HUB_NAME] = StubRepository(private=False)

    with pytest.raises(ReleaseError, match="is public"):
        hub_releases.publish(manifest)

    assert len(hub_releases.repository.commits) == 1
    assert hub_releases.hub.calls("PUT", "/lfs/") == 0


def test_a_branch_that_moves_during_the_upload_is_refused(hub_releases: HubReleases) -> None:
    manifest = hub_releases.release("v2")

    def interfere(method: str, path: str) -> None:
        if path.endswith("/preupload/main"):
            hub_releases.hub.on_request = lambda method, path: None
            hub_releases.repository.add("main", {"notes.txt": b"from another"}, "another commit")

    hub_releases.hub.on_request = interfere
    with pytest.raises(PointerMovedError, match=r"branch main .* moved"):
        hub_releases.publish(manifest)
    assert hub_releases.repository.files("main").keys() == {"notes.txt"}
    assert hub_releases.repository.tags == {}

    hub_releases.publish(manifest)
    assert hub_releases.repository.files("v2").keys() == (MODEL_FILES | CT2_FILES | OWN_FILES | {"notes.txt"}) - {
        ".gitattributes"
    }


def test_a_tag_at_another_model_is_refused(hub_releases: HubReleases) -> None:
    manifest = hub_releases.release("v2")
    hub_releases.hub.repositories[HUB_NAME] = found = StubRepository(private=True)
    found.tags["v2"] = found.branches["main"]

    with pytest.raises(ReleaseError, match=r"tag v2 of .* has another config\.json"):
        hub_releases.publish(manifest)

    assert len(found.commits) == 1


def test_a_tag_that_another_makes_meanwhile_is_refused(hub_releases: HubReleases) -> None:
    manifest = hub_releases.release("v2")

    def interfere(method: str, path: str) -> None:
        if method == "POST" and "/tag/" in path:
            found = hub_releases.repository
            first = next(commit for commit, each in found.commits.items() if each.parent is None)
            found.tags["v2"] = first

    hub_releases.hub.on_request = interfere
    with pytest.raises(ReleaseError, match="a tag is not moved"):
        hub_releases.publish(manifest)


def test_files_that_the_hub_leaves_out_are_noticed(hub_releases: HubReleases, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = hub_releases.release("v2")

    def lose(repository: StubRepository, branch: str, files: dict[str, bytes], summary: str) -> str:
        commit = StubCommit(repository.branches.get(branch), {**files, "config.json": b"{}"}, summary)
        repository.commits[commit.oid] = commit
        repository.branches[branch] = commit.oid
        return commit.oid

    monkeypatch.setattr(StubRepository, "add", lose)
    with pytest.raises(ReleaseError, match=r"lacks config\.json"):
        hub_releases.publish(manifest)
    assert hub_releases.repository.tags == {}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["folder", "branch"])
def test_a_run_killed_before_any_request_is_finished_by_the_next_one(
    hub_releases: HubReleases, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx2
    from huggingface_hub import close_session, set_client_factory

    manifest, step, kills_before_tag = hub_releases.release("v2"), 1, 0

    def work(before_step: Callable[[], None]) -> None:
        hooks = {"request": [lambda request: before_step()]}
        set_client_factory(lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True))
        hub_releases.publish(manifest, layout, f"our-school/step-{step}")

    close_session()
    while run_until_killed(work, step):
        name = f"our-school/step-{step}"
        before = hub_releases.hub.repositories.get(name, StubRepository(private=True))
        kills_before_tag += len(before.commits) > 1 and "v2" not in before.tags
        published = hub_releases.publish(manifest, layout, name)
        found = hub_releases.hub.repositories[name]
        assert found.private
        assert found.tags["v2"] == found.branches["main"] == published.commit
        assert len(found.commits) == (2 if layout == "folder" else 3)
        step += 1
    assert step > 12
    assert kills_before_tag >= 1


def test_no_message_has_the_token(
    hub_releases: HubReleases, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = hub_releases.release("v2")
    caplog.set_level(logging.DEBUG)
    hub_releases.publish(manifest)
    monkeypatch.setenv("HF_TOKEN", secret := f"{HUB_TOKEN}Wrong")

    with pytest.raises(ServiceError, match="HTTP 401") as refused:
        hub_releases.publish(manifest)

    shown = "".join(traceback.format_exception(refused.value)) + caplog.text + "\n".join(hub_releases.lines)
    assert "***" in str(refused.value)
    assert "HF_TOKEN" in str(refused.value)
    assert secret not in shown
    assert HUB_TOKEN not in shown
    assert HUB_TOKEN not in repr(hub_releases.open())
    stored = [data for commit in hub_releases.repository.commits.values() for data in commit.files.values()]
    assert not any(HUB_TOKEN.encode() in data for data in stored)


def test_a_missing_token_is_named(hub_releases: HubReleases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SettingsError, match="HF_TOKEN is not set"):
        hub_releases.open()


def test_a_hub_that_is_unreachable_is_a_fault_of_the_environment(
    hub_releases: HubReleases, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = hub_releases.release("v2")
    monkeypatch.setattr(hub_releases.hub, "url", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"cannot open .*127\.0\.0\.1:9.*run again") as failed:
        hub_releases.publish(manifest)
    assert failed.value.fault == "environment"


@pytest.mark.parametrize("part", ["/repos/create", "/refs", "/commit/", "/tag/"])
def test_a_refused_request_is_named_and_the_next_run_finishes(hub_releases: HubReleases, part: str) -> None:
    manifest = hub_releases.release("v2")

    def refuse(method: str, path: str) -> None:
        if part in path:
            raise HubRefusalError(403, "Forbidden: this token cannot write")

    hub_releases.hub.on_request = refuse
    with pytest.raises(HablaError, match=r"HTTP 403 .*this token cannot write.*HF_TOKEN"):
        hub_releases.publish(manifest)

    hub_releases.hub.on_request = lambda method, path: None
    published = hub_releases.publish(manifest)
    assert hub_releases.repository.tags == {"v2": published.commit}


def test_an_endpoint_without_encryption_is_on_this_machine_only() -> None:
    assert HubSettings(endpoint="http://127.0.0.1:8080").endpoint
    for address in ("http://hub.example.org", "https://user:password@hub.example.org", "hub.example.org"):
        with pytest.raises(ValueError, match="endpoint"):
            HubSettings(endpoint=address)


@pytest.mark.parametrize("name", ["a/b--c", "a--b/c", "a/b..c", "a/b.", "a-/b", "a/b.git", "a/" + "b" * 95])
def test_a_name_that_the_hub_refuses_is_a_fault_of_the_settings(name: str) -> None:
    with pytest.raises(ValidationError, match="as the Hub names repositories"):
        HubSettings(repository=name)
    assert HubSettings(repository="our-school/habla.es_1-2").repository == "our-school/habla.es_1-2"
