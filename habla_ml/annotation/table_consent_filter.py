"""Which rows of a table may come in: their clips as recordings do, their words as Habla's corrections do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from habla_ml.annotation.consent_filter import AnnotationConsentFilter
from habla_ml.annotation.tables import TableRow
from habla_ml.consent.admission import UNATTRIBUTED, UNATTRIBUTED_CLIP_WITHHELD
from habla_ml.recordings.folder_segments import read_folder_segments
from habla_ml.recordings.sessions import parse_session_start
from habla_ml.settings import Settings


@dataclass(frozen=True)
class RowTarget:
    """The segment a row speaks of."""

    row: TableRow
    segment_id: str
    session_id: str
    day: str
    audio_sha256: str = ""
    """Of a clip that was read."""

    @property
    def speaker(self) -> str | None:
        """Whose voice the row says it is."""
        return self.row.speaker


class TableConsentFilter:
    """Whether rows of a table may come in under the consents of now."""

    def __init__(self, words: AnnotationConsentFilter, settings: Settings, now: datetime) -> None:
        self._annotation_filter = words
        self._settings = settings
        self._now = now
        self._labels_in_folder: dict[str, Mapping[str, str | None]] = {}

    @property
    def awaited_entries(self) -> list[str]:
        """The entries of the register that rows wait for; no session, since a table's bear the names of voices."""
        return sorted(self._annotation_filter.admission.awaited_entries)

    def explain_text_refusal(self, target: RowTarget) -> str | None:
        """Why the words on a segment of Habla's, or on another that is there already, may not come in, or None."""
        if self._annotation_filter.admission.consents.registry is None:
            return None
        labels = [target.speaker]
        if not self._annotation_filter.has_recording(target.day, target.segment_id):
            labels.append(self._find_label_in_folder(target))
        return self._annotation_filter.explain_refusal(target.day, target.session_id, target.segment_id, labels)

    def explain_clip_refusal(self, target: RowTarget) -> str | None:
        """Why a clip that nobody has seen may not come in, or None."""
        if reason := self._annotation_filter.admission.explain_refusal(target):
            return reason
        consents = self._annotation_filter.admission.consents
        if consents.registry is None or target.speaker is not None:
            return None
        if parse_session_start(target.session_id) is not None:
            return self._annotation_filter.explain_refusal(target.day, target.session_id, target.segment_id, [])
        covered = any(
            each.covers(target.session_id, None, target.segment_id) for each in consents.register.contributors
        )
        if not covered:
            self._annotation_filter.admission.awaited_entries.add(UNATTRIBUTED)
        return None if covered else UNATTRIBUTED_CLIP_WITHHELD

    def save_tombstones(self) -> None:
        """Let what was turned away for ever be known under every name."""
        self._annotation_filter.admission.save_tombstones()

    def _find_label_in_folder(self, target: RowTarget) -> str | None:
        if target.day not in self._labels_in_folder:
            folder = self._settings.recordings.folder
            found = read_folder_segments(folder, self._settings, self._now, target.day)
            self._labels_in_folder[target.day] = {each.segment_id: each.speaker for each in found}
        return self._labels_in_folder[target.day].get(target.segment_id)
