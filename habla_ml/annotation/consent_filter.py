"""Whether what was said about a segment may come in: not before its voice may, under whatever label it is known.

The recordings decide about voices; a word is kept out with its segment, and by the same register, so that both
come in once the consent is there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from habla_ml.consent.admission import Admission, Consents, open_admission
from habla_ml.consent.register import digest_claim
from habla_ml.lake import Lake
from habla_ml.recordings import load_day
from habla_ml.recordings.segments import read_segment_metadata

UNKNOWN_SPEAKER_WITHHELD: Final = (
    "is withheld with its session: nobody says whose voice it is, and a contributor of it is to consent yet"
)


@dataclass(frozen=True)
class _DaySpeakers:
    speakers: Mapping[str, str | None]
    """Segment that the lake holds → its label."""
    withheld: Mapping[str, Sequence[str]]


@dataclass
class AnnotationConsentFilter:
    """Asks the register about words on segments, with what the lake knows of their voices."""

    admission: Admission
    _days: dict[str, _DaySpeakers] = field(default_factory=dict)

    def has_recording(self, day: str, segment_id: str) -> bool:
        """Whether the lake holds the recording of that segment."""
        return segment_id in self._day(day).speakers

    def explain_refusal(
        self, day: str, session_id: str, segment_id: str, labels: Collection[str | None]
    ) -> str | None:
        """Why a word on that segment may not come in yet, or None; what it waits for is noted in `admission`.

        Args:
            day: the segment's day of recording.
            session_id: the segment's session.
            segment_id: the segment, in the lake or not.
            labels: what whoever speaks of it calls its voice.
        """
        consents = self.admission.consents
        if consents.registry is None:
            return None
        known = self._day(day)
        known_labels = sorted({each for each in (*labels, known.speakers.get(segment_id)) if each})
        for label in (*known_labels,) or (None,):
            if reason := self.admission.explain_annotation_refusal(session_id, label, segment_id):
                return reason
        if known_labels or segment_id in known.speakers:
            return None
        noted, untold = known.withheld.get(session_id, ()), False
        for entry in consents.register.contributors if noted else ():
            claims = {
                each for each in entry.list_claims(session_id) if digest_claim(entry.contributor, each) in noted
            }
            if claims and entry.is_awaited(consents.today):
                self.admission.withhold(session_id, entry, claims)
                untold = True
        return UNKNOWN_SPEAKER_WITHHELD if untold else None

    def _day(self, day: str) -> _DaySpeakers:
        if day not in self._days:
            held = load_day(self.admission.lake, day)
            rows = (
                ()
                if held is None
                else read_segment_metadata(self.admission.lake, held.facts, ["segment_id", "speaker"])
            )
            speakers = {row["segment_id"]: row["speaker"] for row in rows}
            self._days[day] = _DaySpeakers(speakers, {} if held is None else held.withheld)
        return self._days[day]


def open_consent_filter(lake: Lake, consents: Consents) -> AnnotationConsentFilter:
    """What may be said under these consents."""
    return AnnotationConsentFilter(open_admission(lake, consents))
