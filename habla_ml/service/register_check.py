"""Whether the register's file refuses what arrives. The database has the consents that the service records itself."""

from __future__ import annotations

from collections.abc import Callable

from habla_ml.inbox.consents import ForeignContributorError
from habla_ml.recordings.segments import segment_id
from habla_ml.recordings.speaker_labels import is_tracker_label
from habla_ml.recordings.upload_names import UPLOAD_SOURCE, get_upload_session_id
from habla_ml.service.state import ServiceState


def read_clip_check(state: ServiceState, device_id: str) -> Callable[[str, str | None, str], bool]:
    """Return a function of clip, contributor and session: whether the file refuses a clip of the device.

    It refuses what the pipeline would refuse for a withdrawn consent. Where a consent is required, it also refuses what
    waits for one. Raises `InputUnavailableError` if the file cannot be read.
    """
    register, today = state.register.read(), state.read_today()
    is_required = state.settings.consent.required

    def is_refused(clip_id: str, contributor: str | None, session: str) -> bool:
        if not register.contributors:
            return False
        session_id = get_upload_session_id(device_id, session)
        segment = segment_id(UPLOAD_SOURCE, session_id, clip_id)
        entry = register.find_refusing_contributor(session_id, contributor, segment, today)
        return entry is not None and (is_required or entry.is_withdrawn(today))

    return is_refused


def require_pseudonym(contributor: str) -> None:
    """Raise `ForeignContributorError` for a label that recordings give to any voice.

    A withdrawal erases what has the pseudonym as its label, also recordings that came after the consent.
    """
    if is_tracker_label(contributor):
        raise ForeignContributorError("recordings give this name to any voice; use another pseudonym")


def is_refused_contributor(state: ServiceState, contributor: str) -> bool:
    """Return whether the file has an entry of a contributor without a valid consent; raises `InputUnavailableError`."""
    entry = state.register.read().find(contributor)
    return entry is not None and entry.explain_refusal(state.read_today()) is not None
