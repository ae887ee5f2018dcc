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

from habla_ml.consent.register import Contributor, Register, digest_claim, parse_register, read_register_bytes
from habla_ml.consent.tombstones import Tombstones, add_tombstones, read_tombstones
from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake
from habla_ml.settings import Settings

UNATTRIBUTED_CLIP_WITHHELD: Final = (
    "says neither whose voice it is (speaker) nor of which session it is, and no entry covers it"
)
"""Why a clip from elsewhere waits where there is a register: nobody could tell by it that a consent is lacking."""
UNATTRIBUTED: Final = Contributor(contributor="nobody").digest
"""For whose consent such a clip waits."""
ERASED_REASON: Final = "was erased: the consent of its contributor was withdrawn"


class SegmentIdentity(Protocol):
    """What is asked of a segment."""

    @property
    def segment_id(self) -> str: ...  # noqa: D102
    @property
    def session_id(self) -> str: ...  # noqa: D102
    @property
    def speaker(self) -> str | None: ...  # noqa: D102
    @property
    def audio_sha256(self) -> str: ...  # noqa: D102


class WithheldState(Protocol):
    """What a pointer notes of what waits for a consent."""

    @property
    def withheld(self) -> Mapping[str, Sequence[str]]: ...  # noqa: D102
    @property
    def consents(self) -> str: ...  # noqa: D102


_Item = TypeVar("_Item")


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
    def signature(self) -> str:
        """What to remember beside what these consents withhold: their digest, and the day that may change them."""
        beginning = self.register.find_next_start(self.today)
        return self.digest if beginning is None else f"{self.digest} {beginning.isoformat()}"

    def check_readable(self) -> None:
        """Raise `InputError` now where the register cannot be read."""
        _ = self.register

    def unchanged_since(self, signature: str) -> bool:
        """Whether what was withheld under that signature must still be, told without parsing the register."""
        digest, _, beginning = signature.partition(" ")
        return digest == self.digest and (not beginning or self.today.isoformat() < beginning)

    def is_granted(self, session_id: str, claims: Collection[str]) -> bool:
        """Whether one of the claims that withheld something of a session is made no longer."""
        return not self.register.list_awaited_claims(session_id, self.today).issuperset(claims)

    def is_granted_for_table(self, table: str, entries: Collection[str]) -> bool:
        """Whether one of the entries that withheld rows of a table waits no longer, or is another one by now."""
        awaited = {each.digest for each in self.register.contributors if each.is_awaited(self.today)}
        if self.registry is not None and not self.register.may_cover(table):
            awaited.add(UNATTRIBUTED)
        return not awaited.issuperset(entries)

    @cached_property
    def _content(self) -> bytes:
        return b"" if self.registry is None else read_register_bytes(self.registry)


@dataclass
class Admission:
    """The consents and tombstones of one moment, and what was turned away by them."""

    lake: Lake
    consents: Consents
    tombstones: Tombstones
    refused_segment_ids: set[str] = field(default_factory=set)
    refused_audio_sha256: set[str] = field(default_factory=set)
    withheld: dict[str, set[str]] = field(default_factory=dict)
    """Session → the claims by which something of it was turned away until a consent comes."""
    awaited_entries: set[str] = field(default_factory=set)
    """The entries (`Contributor.digest`) that did so."""

    def explain_refusal(self, segment: SegmentIdentity) -> str | None:
        """Why a segment may not come in, or None where it may."""
        if segment.segment_id in self.tombstones.segments or segment.audio_sha256 in self.tombstones.sounds:
            self.refused_segment_ids.add(segment.segment_id)
            return ERASED_REASON
        entry = self._find_refusing_contributor(segment.session_id, segment.speaker, segment.segment_id)
        if entry is None:
            return None
        if entry.is_withdrawn(self.consents.today):
            self.refused_segment_ids.add(segment.segment_id)
            self.refused_audio_sha256.add(segment.audio_sha256)
        return entry.explain_refusal(self.consents.today)

    def explain_annotation_refusal(self, session_id: str, speaker: str | None, segment_id: str) -> str | None:
        """Why what was said about a segment may not come in yet; the log itself keeps out what was erased."""
        entry = self._find_refusing_contributor(session_id, speaker, segment_id)
        return None if entry is None else entry.explain_refusal(self.consents.today)

    def withhold(self, session_id: str, entry: Contributor, claims: Iterable[str]) -> None:
        """Note that something of a session waits for a contributor until one of these claims is made no longer."""
        digests = (digest_claim(entry.contributor, claim) for claim in claims)
        self.withheld.setdefault(session_id, set()).update(digests)
        self.awaited_entries.add(entry.digest)

    def save_tombstones(self) -> None:
        """Write tombstones for what was turned away for ever."""
        if self.refused_segment_ids or self.refused_audio_sha256:
            add_tombstones(self.lake, self.refused_segment_ids, self.refused_audio_sha256)

    def iterate_and_save_tombstones(self, admitted: Iterable[_Item]) -> Iterator[_Item]:
        """The same items; after the last, tombstones are written for what was turned away for ever.

        So what is said of it later, under whatever name, finds its tombstone.
        """
        yield from admitted
        self.save_tombstones()

    def _find_refusing_contributor(
        self, session_id: str, speaker: str | None, segment_id: str
    ) -> Contributor | None:
        """The contributor whose consent lacks; where it may still come, what waits for it is noted."""
        today = self.consents.today
        entry = self.consents.register.find_refusing_contributor(session_id, speaker, segment_id, today)
        if entry is not None and not entry.is_withdrawn(today):
            self.withhold(session_id, entry, [entry.find_claim(session_id, speaker, segment_id)])
        return entry


def load_consents(settings: Settings, now: datetime) -> Consents:
    """The consents of a deployment now."""
    return Consents(settings.consent.registry, now.astimezone(settings.zone).date())


def open_admission(lake: Lake, consents: Consents) -> Admission:
    """What may come in under these consents and the lake's tombstones."""
    return Admission(lake, consents, read_tombstones(lake))


def requeue_newly_consented(
    lake: Lake, name: str, noted: WithheldState, consents: Consents
) -> Mapping[str, Any] | None:
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
    if not noted.withheld or consents.unchanged_since(noted.consents):
        return None
    pointer = lake.read_pointer(name)
    if pointer is None:
        return None
    withheld = pointer.value.get("withheld", {})
    come = {session for session, claims in withheld.items() if consents.is_granted(session, claims)}
    # No session has such a fingerprint, and each register gives another one: a run is asked for once under one key.
    inputs = {**pointer.value["inputs"], **dict.fromkeys(come, f"consent-{consents.digest}")}
    still = {session: claims for session, claims in withheld.items() if session not in come}
    value = replace_withheld({**pointer.value, "inputs": inputs}, still, consents.signature)
    with suppress(PointerMovedError):
        lake.move_pointer(name, value, pointer)
    return value


def merge_withheld(
    value: Mapping[str, Any],
    before: WithheldState | None,
    read: Collection[str],
    withheld: Mapping[str, Collection[str]],
    signature: str,
) -> dict[str, Any]:
    """A pointer's new value with what waits: of the sessions `read` now under the consents of `signature`, and of others."""
    still = {
        session: claims for session, claims in (before.withheld if before else {}).items() if session not in read
    }
    now = {session: sorted(claims) for session, claims in withheld.items() if session in read}
    if before is not None and still and before.consents != signature:
        signature = "" if now else before.consents
    return replace_withheld(value, still | now, signature)


def replace_withheld(
    value: Mapping[str, Any], withheld: Mapping[str, Sequence[str]], signature: str
) -> dict[str, Any]:
    """A pointer's value with what it withholds; without these keys where that is nothing."""
    others = {key: each for key, each in value.items() if key not in {"withheld", "consents"}}
    return {**others, "withheld": withheld, "consents": signature} if withheld else others
