"""Admission of annotations: an annotation is withheld for as long as the recording of its segment is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from habla_ml.consent.admission import Admission, Consents, open_admission
from habla_ml.consent.register import digest_claim
from habla_ml.lake import Lake
from habla_ml.names import canonical_name
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata

UNKNOWN_SPEAKER_WITHHELD: Final = "its speaker is unknown and a contributor of its session has not consented yet"


@dataclass(frozen=True)
class _DaySpeakers:
    speakers: Mapping[str, str | None]
    """Segment in the lake → its speaker label."""
    withheld: Mapping[str, Sequence[str]]
    """Session → the claims by which recordings of it are withheld."""


@dataclass
class AnnotationConsentFilter:
    """Whether annotations of segments may come in, by the consent register and the speakers that the lake knows."""

    admission: Admission
    _days: dict[str, _DaySpeakers] = field(default_factory=dict)

    def has_recording(self, day: str, segment_id: str) -> bool:
        """Return whether the lake has the recording of that segment."""
        return segment_id in self._load_speakers(day).speakers

    def explain_refusal(self, day: str, session_id: str, segment_id: str, labels: Collection[str | None]) -> str | None:
        """Return why an annotation of that segment may not come in yet, or None.

        `labels` are the speaker labels that the annotation's source gives the segment, which need not be in the lake.
        `admission` records the consents that a refused annotation waits for.
        """
        if self.admission.consents.is_empty:
            return None
        known = self._load_speakers(day)
        known_labels = sorted(
            {each for each in (*labels, known.speakers.get(segment_id)) if each and canonical_name(each)}
        )
        for label in (*known_labels,) or (None,):
            if reason := self.admission.explain_annotation_refusal(session_id, label, segment_id):
                return reason
        if known_labels or segment_id in known.speakers:
            return None
        return self._refuse_unknown_speaker(session_id, known.withheld.get(session_id, ()))

    def _refuse_unknown_speaker(self, session_id: str, withheld_claims: Collection[str]) -> str | None:
        """Refuse where a contributor of the session has yet to consent: the segment can be theirs."""
        consents, is_refused = self.admission.consents, False
        for entry in consents.register.contributors if withheld_claims else ():
            possible = entry.list_claims(session_id)
            claims = {each for each in possible if digest_claim(entry.contributor, each) in withheld_claims}
            if claims and entry.is_awaited(consents.today):
                self.admission.withhold(session_id, entry, claims)
                is_refused = True
        return UNKNOWN_SPEAKER_WITHHELD if is_refused else None

    def _load_speakers(self, day: str) -> _DaySpeakers:
        if day not in self._days:
            lake = self.admission.lake
            held = load_day(lake, day)
            rows = read_segment_metadata(lake, held.metadata, ["segment_id", "speaker"]) if held else ()
            speakers = {row["segment_id"]: row["speaker"] for row in rows}
            self._days[day] = _DaySpeakers(speakers, held.withheld if held else {})
        return self._days[day]


def open_consent_filter(lake: Lake, consents: Consents) -> AnnotationConsentFilter:
    """Return the filter of annotations under these consents."""
    return AnnotationConsentFilter(open_admission(lake, consents))
