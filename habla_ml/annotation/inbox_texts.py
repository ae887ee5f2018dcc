"""What the sources that read the service's database share: their days, and the texts of a day that may come in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from habla_ml.annotation.consent_filter import open_consent_filter
from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.source import SourceChanges, SourceContext, SourceDay
from habla_ml.consent.admission import load_consents
from habla_ml.lake import compute_digest

if TYPE_CHECKING:
    from habla_ml.inbox.unread_texts import UnreadDay

SENSOR = "service_corrections"
"""The sensor that these sources share."""

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class AppendedTexts(Generic[_Key]):
    """Which texts of a day the log has now, and which wait for a consent."""

    appended: list[_Key]
    waiting: list[_Key]
    consents: str
    """Signature of the consents under which they wait."""


def describe_days(days: Collection[str], unread: Iterable[UnreadDay]) -> SourceChanges:
    """Return all days of a source, with a digest of what is unread."""
    digests = {each.day: compute_digest([each.texts, each.newest_at.isoformat()]) for each in unread}
    return SourceChanges(tuple(SourceDay(day, digests.get(day, "")) for day in sorted({*days, *digests})))


def append_admitted_events(
    context: SourceContext, day: str, events: Mapping[_Key, AnnotationEvent], labels: Mapping[_Key, str | None]
) -> AppendedTexts[_Key]:
    """Append the events of one day that may come in; `labels` has the speakers that the source knows.

    Raises `InputError` if the register of consents cannot be read, or `PointerMovedError` if another process appended
    at the same time.
    """
    consents = load_consents(context.settings, context.now)
    consent_filter = open_consent_filter(context.lake, consents)
    refused = {
        key
        for key, each in events.items()
        if consent_filter.explain_refusal(day, each.session_id, each.segment_id, [labels.get(key)])
    }
    admitted = {key: each for key, each in events.items() if key not in refused}
    if admitted:
        append_events(context.lake, day, admitted.values(), {})
    return AppendedTexts(list(admitted), [key for key in events if key in refused], consents.signature)
