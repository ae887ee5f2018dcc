"""A pupil's phone in the demo: a consent, then clips and corrections of homework, sent as an app sends them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from habla_ml.client.device import DeviceClient
from habla_ml.client.problems import UnknownItemError
from habla_ml.client.wire import DataPointStatus
from habla_ml.demo.habla_files import write_wav
from habla_ml.demo.recognition_errors import simulate_recognition_errors
from habla_ml.demo.synthetic_speakers import make_andalusian_classroom, synthesize_utterance
from habla_ml.errors import HablaError
from habla_ml.inbox.database import open_database
from habla_ml.inbox.devices import create_enrolment_code
from habla_ml.settings import Settings

HOMEWORK_CLIPS = 20
PSEUDONYM = "c-4f1d9a20"
"""Of the pupil; the class list that leads to the name is elsewhere."""
_STARTED_AT = datetime(2026, 3, 7, 16, 0, tzinfo=UTC)
"""A Saturday after the demo's last lesson."""
_ERROR_RATE = 0.3


@dataclass(frozen=True)
class SentHomework:
    """What the phone sent, and the model that it was offered."""

    clips: int
    corrections: int
    offered_version: str | None
    """None if no version was released."""


def send_homework(settings: Settings, address: str, folder: Path, people_seed: int) -> SentHomework:
    """Enrol a phone, record the consent of a pupil and of a guardian, and send the homework to a running service.

    `folder` has the phone's queue. The audio is the same for the same seed.

    Raises:
        HablaError: The service cannot be reached, or refused an item.
    """
    with DeviceClient(address, folder, app_version="1.0") as phone:
        phone.enrol(_make_code(settings))
        text = next(each for each in phone.list_consent_texts() if each.language == "es")
        phone.consent(text, PSEUDONYM, minor=True, guardian=True)
        _record_homework(phone, people_seed)
        report = phone.upload()
        if report.refused or report.without_consent:
            raise HablaError(
                f"the service refused {report.refused} of the phone's items; read its log next to {folder}"
            )
        return SentHomework(report.recordings, report.data_points, _find_offer(phone))


def _record_homework(phone: DeviceClient, people_seed: int) -> None:
    """Record and correct sentences on the phone, which has no network for that."""
    classroom, rng = make_andalusian_classroom(people_seed), np.random.default_rng([people_seed, 300])
    pupil, recorded_at = classroom.students[0], _STARTED_AT
    for _ in range(HOMEWORK_CLIPS):
        utterance = synthesize_utterance(pupil, classroom.room, rng, quiet=False)
        recorded_at += timedelta(seconds=utterance.duration_s + 20.0)
        audio = io.BytesIO()
        write_wav(audio, utterance.pcm)
        clip = phone.record(audio.getvalue(), "homework", PSEUDONYM, recorded_at)
        seen_text = simulate_recognition_errors(utterance.text, _ERROR_RATE, rng)
        status: DataPointStatus = "confirmed" if seen_text == utterance.text else "corrected"
        phone.correct(clip, utterance.text, status, seenText=seen_text)


def _find_offer(phone: DeviceClient) -> str | None:
    try:
        offered = phone.find_update("ios")
    except UnknownItemError:
        return None
    return None if offered is None else offered.modelVersion


def _make_code(settings: Settings) -> str:
    database = open_database(settings)
    try:
        return create_enrolment_code(database, "phone of the demo", datetime.now(UTC), timedelta(hours=1))
    finally:
        database.close()
