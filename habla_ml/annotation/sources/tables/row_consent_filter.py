"""Admission of a table's rows: new clips as recordings, and texts of known segments as corrections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from habla_ml.annotation.consent_filter import AnnotationConsentFilter
from habla_ml.annotation.sources.tables.rows import TableRow
from habla_ml.consent.admission import UNATTRIBUTED, UNATTRIBUTED_CLIP_WITHHELD
from habla_ml.names import canonical_name
from habla_ml.recordings.metadata import read_folder_segments
from habla_ml.recordings.sessions import parse_session_start
from habla_ml.settings import Settings


@dataclass(frozen=True)
class RowTarget:
    """A row with the segment that it annotates."""

    row: TableRow
    segment_id: str
    session_id: str
    day: str
    audio_sha256: str = ""
    """Of a clip that was read."""


@dataclass
class RowConsentFilter:
    """Whether rows of a table may come in under the current consents."""

    annotation_filter: AnnotationConsentFilter
    settings: Settings
    now: datetime
    _labels_by_day: dict[str, Mapping[str, str | None]] = field(default_factory=dict)

    @property
    def awaited_entries(self) -> list[str]:
        """The register entries that rows wait for; no sessions, since the sessions of a table hold speaker names."""
        return sorted(self.annotation_filter.admission.awaited_entries)

    def explain_text_refusal(self, target: RowTarget) -> str | None:
        """Return why the text of a segment in Habla's folder or in the lake may not come in, or None."""
        if self.annotation_filter.admission.consents.is_empty:
            return None
        labels = [target.row.speaker]
        if not self.annotation_filter.has_recording(target.day, target.segment_id):
            labels.append(self._find_label_in_folder(target))
        return self.annotation_filter.explain_refusal(target.day, target.session_id, target.segment_id, labels)

    def explain_clip_refusal(self, target: RowTarget) -> str | None:
        """Return why a new clip may not come in, or None."""
        admission = self.annotation_filter.admission
        if reason := admission.explain_refusal(
            target.session_id, target.row.speaker, target.segment_id, target.audio_sha256
        ):
            return reason
        if admission.consents.registry is None or canonical_name(target.row.speaker or ""):
            return None
        if parse_session_start(target.session_id) is not None:
            return self.annotation_filter.explain_refusal(target.day, target.session_id, target.segment_id, [])
        entries = admission.consents.register.contributors
        if any(each.covers(target.session_id, None, target.segment_id) for each in entries):
            return None
        admission.awaited_entries.add(UNATTRIBUTED)
        return UNATTRIBUTED_CLIP_WITHHELD

    def _find_label_in_folder(self, target: RowTarget) -> str | None:
        if target.day not in self._labels_by_day:
            found = read_folder_segments(self.settings.recordings.folder, self.settings, self.now, target.day)
            self._labels_by_day[target.day] = {each.segment_id: each.speaker for each in found}
        return self._labels_by_day[target.day].get(target.segment_id)
