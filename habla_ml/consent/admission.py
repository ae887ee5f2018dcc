"""Whether a segment may come in: not once it was erased, and not without the consent of its contributor.

What is withheld because a consent may still come is remembered by the contributor's claim on it, so that the sessions
concerned are read again when the consent is there, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from habla_ml.consent.register import Contributor, Register, claim_digest, parse_register, register_bytes
from habla_ml.consent.tombstones import Tombstones, add_tombstones, read_tombstones
from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake
from habla_ml.settings import Settings

NAMELESS: Final = "says neither whose voice it is (speaker) nor of which session it is, and no entry covers it"
"""Why a clip from elsewhere waits where there is a register: nobody could tell by it that a consent is lacking."""
NOBODY: Final = Contributor(contributor="nobody").digest
"""For whose consent such a clip waits."""
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


class Waiting(Protocol):
    """What a pointer notes of what waits for a consent."""

    @property
    def withheld(self) -> Mapping[str, Sequence[str]]: ...  # noqa: D102
    @property
    def consents(self) -> str: ...  # noqa: D102


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

    def require(self) -> None:
        """Raise `InputError` now where the register cannot be read."""
        _ = self.register

    def are_as_noted(self, note: str) -> bool:
        """Whether what was withheld under that note must still be, told without parsing the register."""
        digest, _, beginning = note.partition(" ")
        return digest == self.digest and (not beginning or self.today.isoformat() < beginning)

    def have_come(self, session_id: str, claims: Collection[str]) -> bool:
        """Whether one of the claims that withheld something of a session is made no longer."""
        return not self.register.awaited(session_id, self.today).issuperset(claims)

    def have_come_for(self, table: str, entries: Collection[str]) -> bool:
        """Whether one of the entries that withheld rows of a table waits no longer, or is another one by now."""
        awaited = {each.digest for each in self.register.contributors if each.is_awaited(self.today)}
        if self.registry is not None and not self.register.may_cover(table):
            awaited.add(NOBODY)
        return not awaited.issuperset(entries)

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
    waits_for: set[str] = field(default_factory=set)
    """The entries (`Contributor.digest`) that did so."""

    def refusal(self, segment: Spoken) -> str | None:
        """Why a segment may not come in, or None where it may."""
        if segment.segment_id in self.erased.segments or segment.audio_sha256 in self.erased.sounds:
            self.segments.add(segment.segment_id)
            return ERASED
        entry = self._refusing(segment.session_id, segment.speaker, segment.segment_id)
        if entry is None:
            return None
        if entry.is_withdrawn(self.consents.today):
            self.segments.add(segment.segment_id)
            self.sounds.add(segment.audio_sha256)
        return entry.refusal(self.consents.today)

    def refusal_of_text(self, session_id: str, speaker: str | None, segment_id: str) -> str | None:
        """Why what was said about a segment may not come in yet; the log itself keeps out what was erased."""
        entry = self._refusing(session_id, speaker, segment_id)
        return None if entry is None else entry.refusal(self.consents.today)

    def wait(self, session_id: str, entry: Contributor, claims: Iterable[str]) -> None:
        """Note that something of a session waits for a contributor until one of these claims is made no longer."""
        digests = (claim_digest(entry.contributor, claim) for claim in claims)
        self.withheld.setdefault(session_id, set()).update(digests)
        self.waits_for.add(entry.digest)

    def remember(self) -> None:
        """Write tombstones for what was turned away for ever."""
        if self.segments or self.sounds:
            add_tombstones(self.lake, self.segments, self.sounds)

    def remembering(self, admitted: Iterable[_Any]) -> Iterator[_Any]:
        """The same items; after the last, tombstones are written for what was turned away for ever.

        So what is said of it later, under whatever name, finds its tombstone.
        """
        yield from admitted
        self.remember()

    def _refusing(self, session_id: str, speaker: str | None, segment_id: str) -> Contributor | None:
        """The contributor whose consent lacks; where it may still come, what waits for it is noted."""
        today = self.consents.today
        entry = self.consents.register.refusing(session_id, speaker, segment_id, today)
        if entry is not None and not entry.is_withdrawn(today):
            self.wait(session_id, entry, [entry.claim(session_id, speaker, segment_id)])
        return entry


def consents_of(settings: Settings, now: datetime) -> Consents:
    """The consents of a deployment now."""
    return Consents(settings.consent.registry, now.astimezone(settings.zone).date())


def open_admission(lake: Lake, consents: Consents) -> Admission:
    """What may come in under these consents and the lake's tombstones."""
    return Admission(lake, consents, read_tombstones(lake))


def call_for_late_consents(lake: Lake, name: str, noted: Waiting, consents: Consents) -> Mapping[str, Any] | None:
    """A pointer's value as it is to be looked at, or None where nothing of what it withholds may come in now.

    In the value, sessions of which something may come in now count as not read. Costs a comparison of two short
    texts while the register is as it was; what came of looking further is noted in the pointer, so that it is
    looked at once.

    Args:
        lake: where the pointer is.
        name: of the pointer; its `inputs` are a fingerprint for each session.
        noted: what was read of the pointer.
        consents: those of now.

    Raises:
        InputError: the register cannot be read.
    """
    if not noted.withheld or consents.are_as_noted(noted.consents):
        return None
    pointer = lake.pointer(name)
    if pointer is None:
        return None
    withheld = pointer.value.get("withheld", {})
    come = {session for session, claims in withheld.items() if consents.have_come(session, claims)}
    # No session has such a fingerprint, and each register gives another one: a run is asked for once under one key.
    inputs = {**pointer.value["inputs"], **dict.fromkeys(come, f"consent-{consents.digest}")}
    still = {session: claims for session, claims in withheld.items() if session not in come}
    value = with_withheld({**pointer.value, "inputs": inputs}, still, consents.note)
    with suppress(PointerMovedError):
        lake.move_pointer(name, value, pointer)
    return value


def noting(
    value: Mapping[str, Any],
    before: Waiting | None,
    read: Collection[str],
    withheld: Mapping[str, Collection[str]],
    note: str,
) -> dict[str, Any]:
    """A pointer's new value with what waits: of the sessions `read` now under the consents of `note`, and of others."""
    still = {
        session: claims for session, claims in (before.withheld if before else {}).items() if session not in read
    }
    now = {session: sorted(claims) for session, claims in withheld.items() if session in read}
    if before is not None and still and before.consents != note:
        note = "" if now else before.consents
    return with_withheld(value, still | now, note)


def with_withheld(value: Mapping[str, Any], withheld: Mapping[str, Sequence[str]], note: str) -> dict[str, Any]:
    """A pointer's value with what it withholds; without these keys where that is nothing."""
    others = {key: each for key, each in value.items() if key not in {"withheld", "consents"}}
    return {**others, "withheld": withheld, "consents": note} if withheld else others
