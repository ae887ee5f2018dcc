"""Consents, clips, data points, withdrawals and erasures of several devices in any order, against a simple model."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from habla_ml.errors import InputError
from habla_ml.inbox.clip_files import CLIP_PREFIX, open_clip_store
from habla_ml.inbox.clips import ClipReceiver, NewClip, derive_clip_id
from habla_ml.inbox.consents import mark_erased, withdraw_consents
from habla_ml.inbox.data_points import NewDataPoint, receive_data_points
from habla_ml.inbox.database import open_database
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.held_clips import find_clips_of_contributors
from habla_ml.inbox.schema import DATA_POINTS
from habla_ml.settings.data import ConsentSettings
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.received_consents import give_consent

REQUIRED = ConsentSettings()
devices = st.sampled_from([str(UUID(int=number)) for number in (1, 2)])
ids = st.sampled_from([str(UUID(int=number)) for number in (11, 12, 13)])
contributors = st.sampled_from(["c-1", "c-2"])
contents = st.sampled_from([b"one", b"two"])
texts = st.sampled_from(["Uno.", "Dos."])


class Uploads(RuleBasedStateMachine):
    """The inbox, and what it must hold."""

    def __init__(self, service_section: dict[str, str]) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="habla_ml_states_"))
        deployment = write_settings(self.folder, service=service_section)
        self.database, self.store = open_database(deployment), open_clip_store(deployment)
        self.receiver = ClipReceiver(self.database, self.store, REQUIRED)
        self.now = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
        self.consents: set[str] = set()
        self.clips: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.erased: set[tuple[str, str]] = set()
        self.points: dict[tuple[str, str], tuple[str, str]] = {}

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    @rule(contributor=contributors)
    def consent(self, contributor: str) -> None:
        self.now += timedelta(seconds=1)
        give_consent(self.database, contributor, given_at=self.now)
        self.consents.add(contributor)

    @rule(contributor=contributors)
    def withdraw_and_erase(self, contributor: str) -> None:
        self.now += timedelta(seconds=1)
        with self.database.write() as connection:
            withdraw_consents(connection, contributor, self.now)
        self.consents.discard(contributor)
        held = [each.clip_id for each in find_clips_of_contributors(self.database, [contributor])]
        assert len(held) == erase_clips(self.database, self.store, held, self.now)
        with self.database.write() as connection:
            mark_erased(connection, contributor, self.now)
        gone = {key for key, (_, owner) in self.clips.items() if owner == contributor}
        self.erased |= gone
        self.clips = {key: each for key, each in self.clips.items() if key not in gone}
        self.points = {key: each for key, each in self.points.items() if (key[0], each[0]) not in gone}

    @rule(device=devices, sent_id=ids, data=contents, contributor=contributors)
    def send_clip(self, device: str, sent_id: str, data: bytes, contributor: str) -> None:
        key, path = (device, sent_id), self.folder / "body"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        clip = NewClip(sent_id, hashlib.sha256(data).hexdigest(), device, contributor, "s", None, self.now)
        try:
            outcome: bool | str = self.receiver.receive(clip, path)
        except InputError as error:
            outcome = type(error).__name__
        if key in self.erased:
            assert outcome == "ClipErasedError"
        elif key in self.clips:
            assert outcome == (False if self.clips[key][0] == data else "ClipConflictError")
        elif contributor not in self.consents:
            assert outcome == "ConsentMissingError"
        else:
            assert outcome is True
            self.clips[key] = (data, contributor)

    @rule(device=devices, point_id=ids, clip_id=ids, text=texts)
    def send_data_point(self, device: str, point_id: str, clip_id: str, text: str) -> None:
        when = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)
        point = NewDataPoint(point_id, clip_id, text, "corrected", "", when, "es", "1", "v1", None)
        (outcome,) = receive_data_points(self.database, device, [point], self.now, REQUIRED)
        known, clip = self.points.get((device, point_id)), self.clips.get((device, clip_id))
        if known is not None:
            assert outcome == ("duplicate" if known == (clip_id, text) else "conflict")
        elif clip is None:
            assert outcome == ("clip_erased" if (device, clip_id) in self.erased else "clip_missing")
        elif clip[1] not in self.consents:
            assert outcome == "no_consent"
        else:
            assert outcome == "accepted"
            self.points[device, point_id] = (clip_id, text)

    @invariant()
    def holds_what_was_acknowledged_and_nothing_else(self) -> None:
        files = sorted(self.store.read(each.key) for each in self.store.list(CLIP_PREFIX))
        assert files == sorted(data for data, _ in self.clips.values())
        with self.database.read() as connection:
            rows = {(row.device_id, row.data_point_id): row for row in connection.execute(select(DATA_POINTS))}
        assert {key: row.text for key, row in rows.items()} == {key: text for key, (_, text) in self.points.items()}
        for key, (clip_id, _) in self.points.items():
            assert rows[key].clip_id == derive_clip_id(key[0], clip_id)


@pytest.mark.long
def test_uploads_in_any_order_hold_what_was_acknowledged_and_nothing_else(
    make_service_section: Callable[[], dict[str, str]],
) -> None:
    bounds = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(lambda: Uploads(make_service_section()), settings=bounds)  # type: ignore[no-untyped-call]
