"""Moves of a channel by several people and machines at once: one wins, the others learn of it, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from habla_ml.client.channel_statement import CHANNEL_KIND
from habla_ml.client.signatures import count_valid_signatures
from habla_ml.errors import HablaError, PointerMovedError, ReleaseError
from habla_ml.lake import DirectoryStore, Store
from habla_ml.release.channel import Channel, Delivery, read_channel, sign_state
from habla_ml.release.moves import change_delivery, promote, renew_all_signatures, renew_signature, rollback
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import Signing, generate_key
from habla_ml.release.stored_files import verify_release_files
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files

KEY = generate_key()
SIGNING = Signing((KEY,), timedelta(days=90))
LATER = NOON + timedelta(days=60)


def publish(store: Store, folder: Path, version: str, channel: str = "stable") -> None:
    files = make_release_files(folder, version)
    publish_release(store, None, channel, make_draft(version), files, NOON, signing=SIGNING)


def read_whole_channel(store: Store, name: str = "stable") -> Channel:
    """Return a channel after checking that every state is there, signed, and led to complete files."""
    found = read_channel(store, name)
    assert [each.sequence for each in found.states] == list(range(1, len(found.states) + 1))
    for state in found.states:
        assert state.signed is not None
        assert count_valid_signatures(CHANNEL_KIND, state.signed, {KEY.key_id: KEY.public_bytes}) == 1
        verify_release_files(store, state)
    return found


def attempt_all(moves: list[Callable[[], object]]) -> list[HablaError | None]:
    """Start all moves at the same moment; return the error of each."""
    barrier = Barrier(len(moves))

    def attempt(move: Callable[[], object]) -> HablaError | None:
        barrier.wait()
        try:
            move()
        except HablaError as error:
            return error
        return None

    with ThreadPoolExecutor(len(moves)) as pool:
        return list(pool.map(attempt, moves))


@pytest.mark.long
def test_two_releases_and_a_rollback_at_once_leave_a_whole_channel(
    new_store: Callable[[], Store], tmp_path: Path
) -> None:
    for version in ("v1", "v2"):
        publish(new_store(), tmp_path, version)
    stores = [new_store() for _ in range(3)]
    errors = attempt_all(
        [
            lambda: publish(stores[0], tmp_path / "a", "v3"),
            lambda: publish(stores[1], tmp_path / "b", "v4"),
            lambda: rollback(stores[2], "stable", seen_sequence=2, signing=SIGNING),
        ]
    )
    found = read_whole_channel(new_store())
    refused = [each for each in errors if each is not None]
    assert len(refused) < 3
    assert len(found.states) == 2 + 3 - len(refused)
    assert all(isinstance(each, PointerMovedError) or "a later model" in str(each) for each in refused)
    # Whoever was refused tries again, and the channel takes it.
    if any(isinstance(each, PointerMovedError) for each in errors[:2]):
        publish(new_store(), tmp_path / "b", "v4")
        assert read_whole_channel(new_store()).current.model_version == "v4"


@pytest.mark.slow
def test_two_people_who_react_to_one_incident_go_back_once(new_store: Callable[[], Store], tmp_path: Path) -> None:
    for version in ("v1", "v2", "v3"):
        publish(new_store(), tmp_path, version)
    seen = read_channel(new_store(), "stable").current.sequence
    stores = [new_store() for _ in range(2)]
    errors = attempt_all(
        [lambda each=each: rollback(each, "stable", seen_sequence=seen, signing=SIGNING) for each in stores]
    )
    assert sorted(type(each) for each in errors if each is not None) == [PointerMovedError]
    found = read_whole_channel(new_store())
    assert (found.current.model_version, found.current.sequence) == ("v2", 4)
    with pytest.raises(PointerMovedError, match="is at move 4, not at 3 as it was seen; look again"):
        rollback(new_store(), "stable", seen_sequence=seen, signing=SIGNING)
    # Who looks again and still wants to go back can.
    assert rollback(new_store(), "stable", seen_sequence=4, signing=SIGNING).model_version == "v1"


def test_a_renewal_and_a_move_at_once_leave_the_moved_state(new_store: Callable[[], Store], tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        publish(new_store(), tmp_path, version)
    stores = [new_store() for _ in range(2)]
    errors = attempt_all(
        [
            lambda: renew_signature(stores[0], "stable", SIGNING, LATER),
            lambda: rollback(stores[1], "stable", signing=SIGNING),
        ]
    )
    found = read_whole_channel(new_store())
    if errors[1] is None:
        assert found.current.model_version == "v1"
    else:
        assert errors[0] is None
        assert (found.current.model_version, found.current.signed_at) == ("v2", LATER)
    assert all(each is None or isinstance(each, PointerMovedError) for each in errors)


@pytest.mark.long
def test_a_renewal_signs_anew_and_moves_nothing(store: Store, tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        publish(store, tmp_path, version)
    publish(store, tmp_path, "v2", "beta")
    before = read_channel(store, "stable").current
    assert {each.channel for each in renew_all_signatures(store, SIGNING, LATER)} == {"beta", "stable"}
    after = read_whole_channel(store).current
    assert (after.signed_at, after.expires_at) == (LATER, LATER + timedelta(days=90))
    assert after.copy_state(signed_at=None, expires_at=None) == before.copy_state(signed_at=None, expires_at=None)
    assert renew_signature(store, "nightly", SIGNING, LATER) is None
    # The history keeps one state for each move, also after a renewal.
    assert rollback(store, "stable", signing=SIGNING).model_version == "v1"
    assert [each.model_version for each in read_whole_channel(store).states] == ["v1", "v2", "v1"]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data.replace(b"-v2", b"-v3")])
def test_a_damaged_channel_does_not_let_the_others_expire(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    for channel in ("beta", "stable"):
        publish(store, tmp_path, "v2", channel)
    latest = store.read_versioned("channels/beta/latest.json")
    assert latest is not None
    store.compare_and_set("channels/beta/latest.json", damage(latest.data), latest.tag)
    (tmp_path / "cdn/channels/.DS_Store").write_bytes(b"left by a file manager")
    with pytest.raises(ReleaseError, match=r"beta.*; renewed: stable"):
        renew_all_signatures(store, SIGNING, LATER)
    assert read_whole_channel(store).current.signed_at == LATER


def test_a_promotion_takes_the_files_of_the_other_channel_and_repeats_nothing(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    publish(store, tmp_path, "v2", "beta")
    files = [each.key for each in store.list("releases/")]
    delivery = Delivery(rollout_percent=10, minimum_app_version="2.1", critical=True)
    moved = promote(store, "beta", "stable", delivery, NOON, 1, SIGNING)
    assert (moved.model_version, moved.rollout_percent, moved.minimum_app_version, moved.critical) == (
        "v2",
        10,
        "2.1",
        True,
    )
    current = read_whole_channel(store).current
    assert (current.move, current.number, current.replaces) == ("promotion", 2, "2026.11.21-v1")
    assert [each.key for each in store.list("releases/")] == files
    promote(store, "beta", "stable", Delivery(), NOON, 1, SIGNING)
    assert read_channel(store, "stable").current == current, "a repeated promotion is no move"
    assert rollback(store, "stable", signing=SIGNING).model_version == "v1"


def test_what_cannot_be_promoted_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"channel beta .* has no release yet; there is nothing to move"):
        promote(store, "beta", "stable", Delivery(), signing=SIGNING)
    publish(store, tmp_path, "v2", "beta")
    with pytest.raises(PointerMovedError, match="channel beta is at move 1, not at 7"):
        promote(store, "beta", "stable", Delivery(), None, 7, SIGNING)
    assert read_channel(store, "stable").current is None


def test_a_release_whose_files_are_damaged_is_not_promoted(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    publish(store, tmp_path, "v2", "beta")
    [path] = (tmp_path / "cdn/releases/v2").glob("habla-ctranslate2-*.zip")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])
    with pytest.raises(ReleaseError, match="is damaged"):
        promote(store, "beta", "stable", Delivery(), signing=SIGNING)
    assert read_channel(store, "stable").current is None


def test_a_wider_rollout_is_a_move_and_the_same_one_is_none(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    assert change_delivery(store, "stable", 50, True, signing=SIGNING).rollout_percent == 50
    again = change_delivery(store, "stable", 50, signing=SIGNING)
    assert (again.sequence, again.critical) == (2, True)
    found = read_whole_channel(store)
    assert [(each.move, each.rollout_percent, each.sequence) for each in found.states] == [
        ("release", 100, 1),
        ("delivery", 50, 2),
    ]
    assert [each.version for each in found.releases] == ["2026.11.21-v1"]
    with pytest.raises(PointerMovedError, match="is at move 2, not at 1"):
        change_delivery(store, "stable", 100, seen_sequence=1, signing=SIGNING)


@pytest.mark.long
def test_a_rollback_reaches_every_device_and_leaves_out_changes_of_delivery(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    publish(store, tmp_path, "v2")
    change_delivery(store, "stable", 5, signing=SIGNING)
    back = rollback(store, "stable", signing=SIGNING)
    assert back.model_version == "v1"
    current = read_whole_channel(store).current
    assert (current.rollout_percent, current.sequence, current.move) == (100, 4, "rollback")


@pytest.mark.parametrize("forgery", ["content", "signature", "key"])
def test_a_state_that_somebody_else_wrote_is_never_signed(store: Store, tmp_path: Path, forgery: str) -> None:
    publish(store, tmp_path, "v1")
    found = store.read_versioned("channels/stable/latest.json")
    current = read_channel(store, "stable").current
    assert found is not None
    assert current is not None
    forged = {
        "content": current.model_copy(update={"version": "2026.11.22-v1"}),
        "signature": current.model_copy(update={"signed": None}),
        "key": sign_state(current.copy_state(), Signing((generate_key(),), SIGNING.lifetime), NOON),
    }[forgery]
    store.compare_and_set("channels/stable/latest.json", forged.model_dump_json().encode(), found.tag)
    for move in (
        lambda: renew_signature(store, "stable", SIGNING, LATER),
        lambda: change_delivery(store, "stable", 50, signing=SIGNING),
        lambda: promote(store, "stable", "beta", Delivery(), signing=SIGNING),
    ):
        with pytest.raises(ReleaseError, match="none of the keys at hand signed"):
            move()
    assert read_channel(store, "beta").current is None
    looked_at = replace(SIGNING, accepts_unverified=True)
    assert renew_signature(store, "stable", looked_at, LATER) is not None
    assert renew_signature(store, "stable", SIGNING, LATER) is not None
