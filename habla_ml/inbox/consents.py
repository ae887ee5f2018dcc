"""The consents that the service records: who has consented, to which text, and who withdrew.

A contributor is a pseudonym, compared in its canonical form (`habla_ml.names`). A consent stands while none of the
contributor's withdrawals is left to erase. For a minor, a guardian must have consented too. A withdrawal takes back all
consents of a contributor, because no clip says which of them it was given under.

Every change raises the revision, in the same transaction. A reader compares one number to learn whether anything
changed, and two writers on PostgreSQL wait for each other at that row. Before that, a change locks its contributor, so
that nothing is stored under a consent after its withdrawal.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, insert, select, update

from habla_ml.errors import InputError
from habla_ml.inbox.locks import hold_contributors, lock_contributor
from habla_ml.inbox.schema import CLIPS, CONSENT_REVISION, CONSENTS
from habla_ml.inbox.typed_names import require_name_key
from habla_ml.lake import compute_digest
from habla_ml.names import canonical_name
from habla_ml.settings.data import ConsentSettings

# Made once: each upload runs it, and making it takes longer than running it.
_CONSENTS_OF: Final = select(CONSENTS).where(CONSENTS.c.contributor_key.in_(bindparam("keys", expanding=True)))
_CONSENT_NAMESPACE: Final = uuid.UUID("5d0c9c5a-7f0e-4a53-9a55-6c1c0a4b8f21")


@dataclass(frozen=True)
class NewConsent:
    """A consent to record."""

    consent_id: str
    """A UUID, made by whoever sends it, so that a repeated request is one consent."""
    contributor: str
    """A pseudonym, as typed."""
    document: str
    document_version: int
    document_digest: str
    """sha256 of the text that the person saw."""
    minor: bool
    guardian: bool
    """Whether a guardian consented too."""
    given_at: datetime
    device_id: str | None = None
    account_id: str | None = None


@dataclass(frozen=True)
class RecordedConsent:
    """A consent as it was recorded, and what became of it."""

    consent_id: str
    contributor: str
    contributor_key: str
    document: str
    document_version: int
    document_digest: str
    minor: bool
    guardian: bool
    given_at: datetime
    withdrawn_at: datetime | None
    erased_at: datetime | None
    """When everything that was received from the contributor until then had been erased."""
    device_id: str | None
    account_id: str | None

    @property
    def is_awaiting_erasure(self) -> bool:
        """Whether it was withdrawn and the contributor's data are not erased yet."""
        return self.withdrawn_at is not None and self.erased_at is None


@dataclass(frozen=True)
class StandingConsent:
    """The present consent of a contributor."""

    consent_id: str
    """The newest of the consents that stand."""
    contributor: str
    document: str
    document_version: int
    minor: bool
    given_at: datetime
    guardian_given_at: datetime | None
    """When a guardian consented; None for an adult."""


class ErasurePendingError(InputError):
    """A contributor who withdrew consents again before the erasure is done; try again when it is."""


class ConsentConflictError(InputError):
    """A consent's id is used for another consent, or the consent is older than the contributor's withdrawal."""


class ForeignContributorError(InputError):
    """A device names a pseudonym that another device, or a person with an account, uses."""


def derive_consent_id(device_id: str, sent_id: str) -> str:
    """Return the id under which a device's consent is kept; no device can name a consent of another one."""
    return str(uuid.uuid5(_CONSENT_NAMESPACE, f"{device_id} {sent_id}"))


def get_contributor_key(contributor: str) -> str:
    """Return the form by which pseudonyms are compared; raises the errors of `require_name_key`."""
    return require_name_key(contributor, "a pseudonym")


def find_missing_consents(
    connection: Connection, contributors: Collection[str | None], consent: ConsentSettings
) -> set[str | None]:
    """Return those of the contributors whose speech may not be stored, because no consent of theirs stands.

    Where the settings require no consent, it is those who withdrew. Call `hold_consents` before their speech is stored.
    """
    if not contributors:
        return set()
    keys = {each: None if each is None else canonical_name(each) for each in contributors}
    consents: dict[str, list[RecordedConsent]] = {}
    for row in connection.execute(_CONSENTS_OF, {"keys": sorted({key for key in keys.values() if key is not None})}):
        consents.setdefault(row.contributor_key, []).append(_read_row(row))
    if not consent.required:
        return {each for each, key in keys.items() if key is not None and is_withdrawn(consents.get(key, ()))}
    standing = {key for key, each in consents.items() if choose_standing_consent(each, consent.oldest_version)}
    return {each for each, key in keys.items() if key not in standing}


def find_standing_consent(connection: Connection, contributor: str, oldest_version: int = 1) -> StandingConsent | None:
    """Return the consent of a contributor that stands, or None: not given, a guardian's is missing, or withdrawn.

    Consents to a version of a document before `oldest_version` do not count.
    """
    return choose_standing_consent(read_consents(connection, contributor), oldest_version)


def hold_consents(connection: Connection, contributors: Iterable[str | None]) -> None:
    """Let the consents of these contributors stay as they are until the transaction ends.

    What the transaction stores is thus stored before a withdrawal, or not at all.
    """
    hold_contributors(connection, {canonical_name(each) for each in contributors if each is not None})


def is_withdrawn(consents: Collection[RecordedConsent]) -> bool:
    """Return whether a contributor with these consents withdrew them, and gave no other since the erasure."""
    return any(each.is_awaiting_erasure for each in consents) or (
        bool(consents) and all(each.withdrawn_at is not None for each in consents)
    )


def choose_standing_consent(consents: Sequence[RecordedConsent], oldest_version: int = 1) -> StandingConsent | None:
    """Return the consent that stands among all consents of one contributor, or None."""
    if any(each.is_awaiting_erasure for each in consents):
        return None
    valid = [each for each in consents if each.withdrawn_at is None and each.document_version >= oldest_version]
    minor = any(each.minor for each in valid)
    guardians = [each.given_at for each in valid if each.guardian]
    if not valid or (minor and not guardians):
        return None
    newest = max(valid, key=lambda each: (each.given_at, each.consent_id))
    return StandingConsent(
        newest.consent_id,
        newest.contributor,
        newest.document,
        newest.document_version,
        minor,
        min(each.given_at for each in valid),
        min(guardians) if minor else None,
    )


def record_consent(connection: Connection, consent: NewConsent) -> RecordedConsent:
    """Record a consent; the same consent again is the first one.

    Raises:
        InputError: The pseudonym has no visible character or is too long.
        ConsentConflictError: The id has another consent, or the contributor withdrew at the same time or later.
        ErasurePendingError: The data of an earlier withdrawal are not erased yet.
        ForeignContributorError: A device sends it, and the contributor's consents are not from this device, or there is
            none yet but a clip of another device.
    """
    key = get_contributor_key(consent.contributor)
    lock_contributor(connection, key)
    known = find_consent(connection, consent.consent_id)
    if known is not None:
        return _require_same(known, consent, key)
    _raise_revision(connection)
    earlier = read_consents(connection, consent.contributor)
    if consent.device_id is not None and _is_used_by_others(connection, key, earlier, consent.device_id):
        raise ForeignContributorError("this pseudonym is used by another device or a person; use another one")
    withdrawals = [each.withdrawn_at for each in earlier if each.withdrawn_at is not None]
    if withdrawals and max(withdrawals) >= consent.given_at:
        raise ConsentConflictError("the contributor withdrew after this consent was given; ask the person again")
    if any(each.is_awaiting_erasure for each in earlier):
        raise ErasurePendingError("the erasure after the contributor's withdrawal is not done yet; try again later")
    values = {**vars(consent), "contributor_key": key}
    connection.execute(insert(CONSENTS).values(values))
    return RecordedConsent(**values, withdrawn_at=None, erased_at=None)


def _is_used_by_others(connection: Connection, key: str, consents: Sequence[RecordedConsent], device_id: str) -> bool:
    """Return whether a contributor's consents or, before the first of them, any clips are not from this device."""
    if consents:
        return not is_managed_by(consents, device_id)
    foreign = and_(CLIPS.c.contributor_key == key, CLIPS.c.device_id != device_id)
    return connection.scalar(select(CLIPS.c.clip_id).where(foreign).limit(1)) is not None


def find_consent(connection: Connection, consent_id: str) -> RecordedConsent | None:
    """Return a consent by its id, or None."""
    row = connection.execute(select(CONSENTS).where(CONSENTS.c.consent_id == consent_id)).one_or_none()
    return None if row is None else _read_row(row)


def read_consents(connection: Connection, contributor: str) -> list[RecordedConsent]:
    """Return all consents of a contributor in whatever spelling, oldest first."""
    query = select(CONSENTS).where(CONSENTS.c.contributor_key == canonical_name(contributor))
    return [_read_row(row) for row in connection.execute(query.order_by(CONSENTS.c.given_at, CONSENTS.c.consent_id))]


def read_all_consents(connection: Connection) -> list[RecordedConsent]:
    """Return the consents of all contributors, by contributor, oldest first."""
    columns = CONSENTS.c
    query = select(CONSENTS).order_by(columns.contributor_key, columns.given_at, columns.consent_id)
    return [_read_row(row) for row in connection.execute(query)]


def count_contributors(connection: Connection, search: str = "") -> int:
    """Return how many contributors have `search` in their pseudonym, in whatever spelling."""
    query = select(func.count(CONSENTS.c.contributor_key.distinct()))
    return connection.scalar(query.where(_find_in_pseudonym(search))) or 0


def list_contributors(connection: Connection, search: str, skipped: int, most: int) -> list[list[RecordedConsent]]:
    """Return the consents of each of the next contributors with `search` in their pseudonym, by pseudonym, oldest first."""
    keys = select(CONSENTS.c.contributor_key).distinct().where(_find_in_pseudonym(search))
    keys = keys.order_by(CONSENTS.c.contributor_key).offset(skipped).limit(most)
    rows = select(CONSENTS).where(CONSENTS.c.contributor_key.in_(keys))
    rows = rows.order_by(CONSENTS.c.contributor_key, CONSENTS.c.given_at, CONSENTS.c.consent_id)
    found = [_read_row(row) for row in connection.execute(rows)]
    return [list(group) for _, group in groupby(found, key=lambda each: each.contributor_key)]


def _find_in_pseudonym(search: str) -> ColumnElement[bool]:
    return CONSENTS.c.contributor_key.contains(canonical_name(search), autoescape=True)


def withdraw_consents(connection: Connection, contributor: str, now: datetime) -> list[RecordedConsent]:
    """Withdraw all consents of a contributor, and mark the contributor's data for the erasure; repeating changes nothing.

    Returns all consents of the contributor, none if there is no such contributor.
    """
    lock_contributor(connection, canonical_name(contributor))
    found = read_consents(connection, contributor)
    if all(each.withdrawn_at is not None for each in found):
        return found
    _raise_revision(connection)
    valid = and_(CONSENTS.c.contributor_key == canonical_name(contributor), CONSENTS.c.withdrawn_at.is_(None))
    connection.execute(update(CONSENTS).where(valid).values(withdrawn_at=now))
    return read_consents(connection, contributor)


def list_awaiting_erasure(connection: Connection) -> list[str]:
    """Return the contributors who withdrew and whose data are not erased yet; the cost depends on their number."""
    pending = and_(CONSENTS.c.withdrawn_at.is_not(None), CONSENTS.c.erased_at.is_(None))
    query = select(CONSENTS.c.contributor_key, CONSENTS.c.contributor).where(pending).order_by(CONSENTS.c.given_at)
    return list({row.contributor_key: row.contributor for row in connection.execute(query)}.values())


def digest_awaiting_erasure(connection: Connection) -> str:
    """Return a digest of who waits for an erasure, without pseudonyms; empty if nobody does."""
    pending = and_(CONSENTS.c.withdrawn_at.is_not(None), CONSENTS.c.erased_at.is_(None))
    ids = list(connection.scalars(select(CONSENTS.c.consent_id).where(pending).order_by(CONSENTS.c.consent_id)))
    return compute_digest(["habla_ml.withdrawals/1", *ids])[:32] if ids else ""


def mark_erased(connection: Connection, contributor: str, now: datetime) -> None:
    """Note that everything received from a contributor who withdrew is erased."""
    lock_contributor(connection, canonical_name(contributor))
    if not any(each.is_awaiting_erasure for each in read_consents(connection, contributor)):
        return
    _raise_revision(connection)
    columns = CONSENTS.c
    pending = and_(columns.withdrawn_at.is_not(None), columns.erased_at.is_(None))
    condition = and_(columns.contributor_key == canonical_name(contributor), pending)
    connection.execute(update(CONSENTS).where(condition).values(erased_at=now))


def is_managed_by(consents: Iterable[RecordedConsent], device_id: str) -> bool:
    """Return whether a device may see and withdraw the consents of a contributor: it recorded one of them.

    `record_consent` lets no other device record one.
    """
    return any(each.device_id == device_id for each in consents)


def read_revision(connection: Connection) -> int:
    """Return the number of changes of consents so far."""
    return connection.scalar(select(CONSENT_REVISION.c.revision)) or 0


def _raise_revision(connection: Connection) -> None:
    raised = update(CONSENT_REVISION).values(revision=CONSENT_REVISION.c.revision + 1)
    if connection.execute(raised).rowcount == 0:
        connection.execute(insert(CONSENT_REVISION).values(only_row=1, revision=1))


def _require_same(known: RecordedConsent, consent: NewConsent, key: str) -> RecordedConsent:
    compared: dict[str, Any] = {**vars(consent), "contributor_key": key}
    # Another device or person must not learn that the id exists, nor a repeat change what was recorded first.
    if any(getattr(known, name) != value for name, value in compared.items()):
        raise ConsentConflictError("the id is used for another consent; make a new id")
    return known


def _read_row(row: Row[Any]) -> RecordedConsent:
    return RecordedConsent(**{name: getattr(row, name) for name in RecordedConsent.__dataclass_fields__})
