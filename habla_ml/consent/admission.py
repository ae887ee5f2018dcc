"""Whether a segment may come in: not once it was erased, and not without the consent of its contributor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Protocol, TypeVar

from habla_ml.consent.register import Register, load_register
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


@dataclass
class Admission:
    """The consents and tombstones of one moment, and what was turned away by them."""

    lake: Lake
    register: Register
    erased: Tombstones
    today: date
    segments: set[str] = field(default_factory=set)
    sounds: set[str] = field(default_factory=set)

    def refusal(self, segment: Spoken) -> str | None:
        """Why a segment may not come in, or None where it may."""
        if segment.segment_id in self.erased.segments or segment.audio_sha256 in self.erased.sounds:
            self.segments.add(segment.segment_id)
            return ERASED
        entry = self.register.refusing(segment.session_id, segment.speaker, segment.segment_id, self.today)
        if entry is None:
            return None
        if entry.is_withdrawn(self.today):
            self.segments.add(segment.segment_id)
            self.sounds.add(segment.audio_sha256)
        return entry.refusal(self.today)

    def remembering(self, admitted: Iterable[_Any]) -> Iterator[_Any]:
        """The same items; after the last, tombstones are written for what was turned away for ever.

        So what is said of it later, under whatever name, finds its tombstone.
        """
        yield from admitted
        if self.segments or self.sounds:
            add_tombstones(self.lake, self.segments, self.sounds)


def open_admission(lake: Lake, settings: Settings, now: datetime) -> Admission:
    """The state of consents now.

    Raises:
        InputError: the register of `consent.registry` cannot be read; nothing comes in before it is mended.
    """
    registry = settings.consent.registry
    register = Register() if registry is None else load_register(registry)
    return Admission(lake, register, read_tombstones(lake), now.astimezone(settings.zone).date())
