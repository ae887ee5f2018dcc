"""Whether a segment may come in: not once it was erased, and not without the consent of its contributor.

What is withheld because a consent may still come is remembered by the contributor's claim on it, so that the sessions
concerned are read again when the consent is there, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol, TypeVar

from habla_ml.consent.register import Register, claim_digest, parse_register, register_bytes
from habla_ml.consent.tombstones import Tombstones, add_tombstones, read_tombstones
from habla_ml.lake import Lake
from habla_ml.settings import Settings

ERASED: Final = "was erased: the consent of its contributor was withdrawn"


class Spoken(Protocol):
    """What is asked of a segment."""

    @property
    def segment_id(self) -> str: ...  # noqa: D102
    @property
    def session_id(self) -> str: ...  # noqa: D102
    @property
    def speaker(self) -> str | None: ...  # noqa: D102
    @property
    def audio_sha256(self) -> str: ...  # noqa: D102


_Any = TypeVar("_Any")


@dataclass(frozen=True)
class Consents:
    """The register on a day. Its file is read when it is first asked for, and parsed only where that is needed.

    Every use raises `InputError` where the register cannot be read; nothing comes in before it is mended.
    """

    registry: Path | None
    """`consent.registry`; without one everybody has agreed."""
    today: date

    @cached_property
    def register(self) -> Register:
        """Who agreed to what."""
        return Register() if self.registry is None else parse_register(self._content, self.registry)

    @cached_property
    def digest(self) -> str:
        """Of the register's file."""
        return hashlib.sha256(self._content).hexdigest()[:32]

    @cached_property
    def note(self) -> str:
        """What to remember beside what these consents withhold: their digest, and the day that may change them."""
        beginning = self.register.next_beginning(self.today)
        return self.digest if beginning is None else f"{self.digest} {beginning.isoformat()}"

    def are_as_noted(self, note: str) -> bool:
        """Whether what was withheld under that note must still be, told without parsing the register."""
        digest, _, beginning = note.partition(" ")
        return digest == self.digest and (not beginning or self.today.isoformat() < beginning)

    def have_come(self, session_id: str, claims: Collection[str]) -> bool:
        """Whether one of the claims that withheld something of a session is made no longer."""
        return not self.register.awaited(session_id, self.today).issuperset(claims)

    @cached_property
    def _content(self) -> bytes:
        return b"" if self.registry is None else register_bytes(self.registry)


@dataclass
class Admission:
    """The consents and tombstones of one moment, and what was turned away by them."""

    lake: Lake
    consents: Consents
    erased: Tombstones
    segments: set[str] = field(default_factory=set)
    sounds: set[str] = field(default_factory=set)
    withheld: dict[str, set[str]] = field(default_factory=dict)
    """Session → the claims by which something of it was turned away until a consent comes."""

    def refusal(self, segment: Spoken) -> str | None:
        """Why a segment may not come in, or None where it may."""
        if segment.segment_id in self.erased.segments or segment.audio_sha256 in self.erased.sounds:
            self.segments.add(segment.segment_id)
            return ERASED
        today = self.consents.today
        entry = self.consents.register.refusing(segment.session_id, segment.speaker, segment.segment_id, today)
        if entry is None:
            return None
        if entry.is_withdrawn(today):
            self.segments.add(segment.segment_id)
            self.sounds.add(segment.audio_sha256)
        else:
            claim = entry.claim(segment.session_id, segment.speaker, segment.segment_id)
            self.withheld.setdefault(segment.session_id, set()).add(claim_digest(entry.contributor, claim))
        return entry.refusal(today)

    def remembering(self, admitted: Iterable[_Any]) -> Iterator[_Any]:
        """The same items; after the last, tombstones are written for what was turned away for ever.

        So what is said of it later, under whatever name, finds its tombstone.
        """
        yield from admitted
        if self.segments or self.sounds:
            add_tombstones(self.lake, self.segments, self.sounds)


def consents_of(settings: Settings, now: datetime) -> Consents:
    """The consents of a deployment now."""
    return Consents(settings.consent.registry, now.astimezone(settings.zone).date())


def open_admission(lake: Lake, consents: Consents) -> Admission:
    """What may come in under these consents and the lake's tombstones."""
    return Admission(lake, consents, read_tombstones(lake))
