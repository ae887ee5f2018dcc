"""Admission of segments: refuse erased segments and segments without the consent of their contributor.

Pointers store the contributor's claim on withheld segments. When a consent is granted, only the sessions with a matching
claim are read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from habla_ml.consent.register import (
    Contributor,
    Register,
    digest_claim,
    digest_claims,
    parse_register,
    read_register_bytes,
)
from habla_ml.consent.service_consents import ServiceConsents, join_registers
from habla_ml.consent.tombstones import Tombstones, add_tombstones, read_tombstones
from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake
from habla_ml.settings import Settings

UNATTRIBUTED_CLIP_WITHHELD: Final = (
    "has no speaker and no session, and no entry of the consent register covers it; name one of them"
)
"""Why a table's clip is withheld if there is a register: no consent can be found for it."""
UNATTRIBUTED: Final = Contributor(contributor="nobody").digest
"""Entry that such a clip waits for, as stored in the lake."""
ERASED_REASON: Final = "was erased: the consent of its contributor was withdrawn"


@dataclass(frozen=True, kw_only=True)
class WithheldState:
    """Withheld segments or annotations in a pointer."""

    withheld: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Session → claims (`digest_claim`) that withhold its segments until a consent is granted."""
    consents: str = ""
    """`Consents.signature` at that time; empty if sessions were read under different consents."""


_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Consents:
    """The register on a day: the file's entries and the consents that the service recorded.

    Both are read on first use, and their entries only if needed. Every use raises `InputError` if the register's file
    cannot be read, and `LakeError` if the service's database cannot; no segment is admitted until then.
    """

    registry: Path | None
    """`consent.registry`; without one, every segment that has no consent in the service is admitted."""
    today: date
    service: ServiceConsents

    @cached_property
    def register(self) -> Register:
        """All entries."""
        # The digest is never newer than the entries: a change in between is seen by the next look.
        _ = self.digest
        file = Register() if self.registry is None else parse_register(self._content, self.registry)
        return join_registers(file, self.service.read_contributors()) if self._revision else file

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a register's file nor a consent in the service, so that nothing is ever refused."""
        return self.registry is None and not self._revision

    @cached_property
    def digest(self) -> str:
        """Digest of the register's file and of the number of changes in the service, not of the entries."""
        service = f"\n{self._revision} {self.service.oldest_version}".encode() if self._revision else b""
        return hashlib.sha256(self._content + service).hexdigest()[:32]

    @cached_property
    def awaited(self) -> tuple[Contributor, ...]:
        """The contributors who may still consent."""
        return self.register.list_awaited(self.today)

    @cached_property
    def signature(self) -> str:
        """The register's digest, and the next day on which a consent starts, to store with withheld segments."""
        next_start = self.register.find_next_start(self.today)
        return self.digest if next_start is None else f"{self.digest} {next_start.isoformat()}"

    def check_readable(self) -> None:
        """Raise `InputError` if the register cannot be read."""
        _ = self.register

    def unchanged_since(self, signature: str) -> bool:
        """Return whether no consent has changed since that signature, without parsing the register."""
        digest, _, next_start = signature.partition(" ")
        return digest == self.digest and (not next_start or self.today.isoformat() < next_start)

    def is_granted(self, session_id: str, claims: Collection[str]) -> bool:
        """Return whether one of the claims that withheld segments of a session no longer exists."""
        return not digest_claims(self.awaited, session_id).issuperset(claims)

    def is_granted_for_table(self, table: str, entries: Collection[str]) -> bool:
        """Return whether one of the entries that withheld rows of a table now has consent or has changed."""
        awaited = {each.digest for each in self.awaited}
        if self.registry is not None and not self.register.may_cover(table):
            awaited.add(UNATTRIBUTED)
        return not awaited.issuperset(entries)

    @cached_property
    def _content(self) -> bytes:
        return b"" if self.registry is None else read_register_bytes(self.registry)

    @cached_property
    def _revision(self) -> int:
        return self.service.read_revision()


@dataclass
class Admission:
    """The present consents and tombstones, and the segments that they refused."""

    lake: Lake
    consents: Consents
    tombstones: Tombstones
    refused_segment_ids: set[str] = field(default_factory=set)
    refused_audio_sha256: set[str] = field(default_factory=set)
    withheld: dict[str, set[str]] = field(default_factory=dict)
    awaited_entries: set[str] = field(default_factory=set)
    """Entries (`Contributor.digest`) with such claims."""

    def explain_refusal(self, session_id: str, speaker: str | None, segment_id: str, audio_sha256: str) -> str | None:
        """Return why a segment is refused, or None if it is admitted."""
        if segment_id in self.tombstones.segments or audio_sha256 in self.tombstones.sounds:
            self.refused_segment_ids.add(segment_id)
            return ERASED_REASON
        entry = self._find_refusing_contributor(session_id, speaker, segment_id)
        if entry is None:
            return None
        if entry.is_withdrawn(self.consents.today):
            self.refused_segment_ids.add(segment_id)
            self.refused_audio_sha256.add(audio_sha256)
        return entry.explain_refusal(self.consents.today)

    def is_awaited(self, session_id: str, speaker: str | None, segment_id: str) -> bool:
        """Return whether a segment waits for a consent that may still be granted; asked before its audio is decoded."""
        today = self.consents.today
        entry = self.consents.register.find_refusing_contributor(session_id, speaker, segment_id, today)
        return entry is not None and entry.is_awaited(today)

    def explain_annotation_refusal(self, session_id: str, speaker: str | None, segment_id: str) -> str | None:
        """Return why annotations of a segment are withheld, or None. The event log drops erased segments itself."""
        entry = self._find_refusing_contributor(session_id, speaker, segment_id)
        return None if entry is None else entry.explain_refusal(self.consents.today)

    def withhold(self, session_id: str, entry: Contributor, claims: Iterable[str]) -> None:
        """Record that segments of a session wait for a contributor's consent because of these claims."""
        digests = (digest_claim(entry.contributor, claim) for claim in claims)
        self.withheld.setdefault(session_id, set()).update(digests)
        self.awaited_entries.add(entry.digest)

    def save_tombstones(self) -> None:
        """Write tombstones for the segments with a withdrawn consent."""
        if self.refused_segment_ids or self.refused_audio_sha256:
            add_tombstones(self.lake, self.refused_segment_ids, self.refused_audio_sha256)

    def iterate_and_save_tombstones(self, admitted: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the same items, then write tombstones, which also keep out later annotations and renamed copies."""
        yield from admitted
        self.save_tombstones()

    def _find_refusing_contributor(self, session_id: str, speaker: str | None, segment_id: str) -> Contributor | None:
        """Return the contributor without consent; record the claim if the consent may still be granted."""
        today = self.consents.today
        entry = self.consents.register.find_refusing_contributor(session_id, speaker, segment_id, today)
        if entry is not None and not entry.is_withdrawn(today):
            self.withhold(session_id, entry, [entry.find_claim(session_id, speaker, segment_id)])
        return entry


def load_consents(settings: Settings, now: datetime) -> Consents:
    """Return the present consents of a deployment."""
    return Consents(settings.consent.registry, now.astimezone(settings.zone).date(), ServiceConsents(settings))


def open_admission(lake: Lake, consents: Consents) -> Admission:
    """Return the admission under these consents and the lake's tombstones."""
    return Admission(lake, consents, read_tombstones(lake))


def requeue_newly_consented(
    lake: Lake, name: str, stored: WithheldState, consents: Consents
) -> Mapping[str, Any] | None:
    """Mark sessions with newly granted consents as not read; return the pointer's new value, or None if unchanged.

    Compares two short texts if the register has not changed. Otherwise stores the result in the pointer `name`, whose
    `inputs` have a fingerprint for each session: each change of the register is examined once. Raises `InputError` if
    the register cannot be read.
    """
    if not stored.withheld or consents.unchanged_since(stored.consents):
        return None
    pointer = lake.read_pointer(name)
    if pointer is None:
        return None
    withheld = pointer.value.get("withheld", {})
    granted = {session for session, claims in withheld.items() if consents.is_granted(session, claims)}
    # Never equals a real fingerprint and differs for each register, so that one run is requested per change.
    inputs = {**pointer.value["inputs"], **dict.fromkeys(granted, f"consent-{consents.digest}")}
    still = {session: claims for session, claims in withheld.items() if session not in granted}
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
    """Return a pointer's value with the `withheld` claims of the sessions just `read`, and the earlier ones of others."""
    still = {session: claims for session, claims in (before.withheld if before else {}).items() if session not in read}
    now = {session: sorted(claims) for session, claims in withheld.items() if session in read}
    if before is not None and still and before.consents != signature:
        signature = "" if now else before.consents
    return replace_withheld(value, still | now, signature)


def replace_withheld(value: Mapping[str, Any], withheld: Mapping[str, Sequence[str]], signature: str) -> dict[str, Any]:
    """Return a pointer's value with its withheld segments; without these keys if nothing is withheld."""
    others = {key: each for key, each in value.items() if key not in {"withheld", "consents"}}
    return {**others, "withheld": withheld, "consents": signature} if withheld else others
