"""The consents that the service recorded, as entries of the register.

An uploaded clip has its contributor's pseudonym as its speaker, so the entry needs no other claim. Where the register's
file has an entry for the same pseudonym, both must consent, and the stricter date counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from habla_ml.consent.register import Contributor, Register
from habla_ml.inbox.consents import (
    RecordedConsent,
    choose_standing_consent,
    is_withdrawn,
    read_all_consents,
    read_revision,
)
from habla_ml.inbox.database import open_existing_database
from habla_ml.names import canonical_name
from habla_ml.settings import Settings


class ServiceConsents:
    """The service's consents of a deployment; none where no service was ever started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.oldest_version = settings.consent.oldest_version

    def read_revision(self) -> int:
        """Return the number of changes so far; raises `LakeError` if the database cannot be read."""
        with open_existing_database(self._settings) as database:
            if database is None:
                return 0
            with database.read() as connection:
                return read_revision(connection)

    def read_contributors(self) -> list[Contributor]:
        """Return an entry for each contributor; raises `LakeError` if the database cannot be read."""
        with open_existing_database(self._settings) as database:
            if database is None:
                return []
            with database.read() as connection:
                consents = read_all_consents(connection)
        by_key = groupby(consents, lambda each: each.contributor_key)
        return [self._make_entry(key, list(group)) for key, group in by_key]

    def _make_entry(self, key: str, consents: Sequence[RecordedConsent]) -> Contributor:
        valid = [each for each in consents if each.withdrawn_at is None]
        current = [each for each in valid if each.document_version >= self.oldest_version]
        standing = choose_standing_consent(consents, self.oldest_version)
        withdrawals = [each.withdrawn_at for each in consents if each.withdrawn_at is not None]
        # The values come from the database, and there can be 100,000 of them: they are not validated again.
        return Contributor.model_construct(
            contributor=key,
            minor=any(each.minor for each in current),
            given=self._find_day(min(each.given_at for each in current)) if current else None,
            guardian_given=self._find_day(standing.guardian_given_at) if standing else None,
            withdrawn=self._find_day(max(withdrawals)) if is_withdrawn(consents) else None,
        )

    def _find_day(self, moment: datetime | None) -> date | None:
        return None if moment is None else moment.astimezone(self._settings.zone).date()


def join_registers(file: Register, service: Iterable[Contributor]) -> Register:
    """Return the register with the entries of both; those for one pseudonym are joined under the file's spelling."""
    joined = {canonical_name(each.contributor): each for each in file.contributors}
    for each in service:
        listed = joined.get(each.contributor)
        joined[each.contributor] = each if listed is None else _join_entries(listed, each)
    return Register.model_construct(contributors=tuple(joined.values()))


def _join_entries(listed: Contributor, recorded: Contributor) -> Contributor:
    """Return the entry of the file with the stricter consent: both given, a guardian's if either says minor."""
    both = (listed, recorded)
    given = [each.given for each in both if each.given is not None]
    guardians = [each.guardian_given for each in both if each.minor and each.guardian_given is not None]
    is_complete = all(each.guardian_given is not None for each in both if each.minor)
    withdrawals = [each.withdrawn for each in both if each.withdrawn is not None]
    changes: dict[str, Any] = {
        "minor": listed.minor or recorded.minor,
        "given": max(given) if len(given) == len(both) else None,
        "guardian_given": max(guardians, default=None) if is_complete else None,
        "withdrawn": min(withdrawals, default=None),
    }
    return listed.model_copy(update=changes)
