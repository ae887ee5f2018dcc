"""Which rows of a table may come in: their clips as recordings do, their words as Habla's corrections do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from habla_ml.annotation.admitted import WordsAdmission
from habla_ml.annotation.tables import TableRow
from habla_ml.consent.admission import NAMELESS, NOBODY
from habla_ml.recordings.sessions import session_start
from habla_ml.recordings.voices import voices_in_folder
from habla_ml.settings import Settings


@dataclass(frozen=True)
class Target:
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


class Gate:
    """Whether rows of a table may come in under the consents of now."""

    def __init__(self, words: WordsAdmission, settings: Settings, now: datetime) -> None:
        self._words = words
        self._settings = settings
        self._now = now
        self._in_folder: dict[str, Mapping[str, str | None]] = {}

    @property
    def waits_for(self) -> list[str]:
        """The entries of the register that rows wait for; no session, since a table's bear the names of voices."""
        return sorted(self._words.admission.waits_for)

    def words_refused(self, target: Target) -> str | None:
        """Why the words on a segment of Habla's, or on another that is there already, may not come in, or None."""
        if self._words.admission.consents.registry is None:
            return None
        labels = [target.speaker]
        if not self._words.holds(target.day, target.segment_id):
            labels.append(self._label_in_folder(target))
        return self._words.refusal(target.day, target.session_id, target.segment_id, labels)

    def clip_refused(self, target: Target) -> str | None:
        """Why a clip that nobody has seen may not come in, or None."""
        if reason := self._words.admission.refusal(target):
            return reason
        consents = self._words.admission.consents
        if consents.registry is None or target.speaker is not None:
            return None
        if session_start(target.session_id) is not None:
            return self._words.refusal(target.day, target.session_id, target.segment_id, [])
        covered = any(
            each.covers(target.session_id, None, target.segment_id) for each in consents.register.contributors
        )
        if not covered:
            self._words.admission.waits_for.add(NOBODY)
        return None if covered else NAMELESS

    def remember(self) -> None:
        """Let what was turned away for ever be known under every name."""
        self._words.admission.remember()

    def _label_in_folder(self, target: Target) -> str | None:
        if target.day not in self._in_folder:
            folder = self._settings.recordings.folder
            found = voices_in_folder(folder, self._settings, self._now, target.day)
            self._in_folder[target.day] = {each.segment_id: each.speaker for each in found}
        return self._in_folder[target.day].get(target.segment_id)
