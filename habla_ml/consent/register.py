"""The register of consents: a YAML file of pseudonymous contributors, outside the lake.

Each entry has the dates of the consent (for a minor also a guardian's) and the contributor's data: whole sessions,
speaker labels in sessions, or single segments. Names are compared in their canonical form (`habla_ml.names`). Keep an
entry after its withdrawal: it recognises data restored from a backup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from habla_ml.errors import InputUnavailableError
from habla_ml.lake import compute_digest
from habla_ml.names import canonical_name, matches_pattern
from habla_ml.settings.base import Day
from habla_ml.settings.yaml_files import describe_fault
from habla_ml.settings.yaml_loader import RepeatedKeyError, find_entry_lines, load_yaml

_EXPLAIN_SPELLINGS: Final = "capitals, blanks and the way an accent is stored do not count"


def _require_visible(name: str) -> str:
    if not canonical_name(name):
        raise ValueError("has no visible character; write a name")
    return name


_Name = Annotated[str, AfterValidator(_require_visible)]


class _RegisterModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Voice(_RegisterModel):
    """A speaker label of this contributor and its sessions."""

    label: _Name
    sessions: tuple[str, ...] = ("*",)
    """Patterns of session names (`*`, `?`); all sessions for an enrolled name."""


class Contributor(_RegisterModel):
    """A pseudonymous person, their consent and their data."""

    contributor: _Name
    """A pseudonym; keep the real name elsewhere."""
    minor: bool = False
    given: Day | None = None
    guardian_given: Day | None = None
    withdrawn: Day | None = None
    sessions: tuple[str, ...] = ()
    """Patterns of the names of sessions that belong to them entirely."""
    speakers: tuple[Voice, ...] = ()
    """Their labels; the pseudonym itself is one in every session."""
    segments: tuple[str, ...] = ()

    def covers(self, session_id: str, speaker: str | None, segment_id: str) -> bool:
        """Return whether a segment belongs to this contributor."""
        return self.find_claim(session_id, speaker, segment_id) != ""

    def find_claim(self, session_id: str, speaker: str | None, segment_id: str) -> str:
        """Return the claim on a segment (its session, speaker label or id); empty if there is none.

        A label is given as the register spells it, so that all spellings of it are one claim.
        """
        if matches_any(session_id, self.sessions):
            return "session"
        label = canonical_name(speaker or "")
        if canonical_name(self.contributor) == label:
            return f"speaker {self.contributor}"
        for each in self.speakers:
            if canonical_name(each.label) == label and matches_any(session_id, each.sessions):
                return f"speaker {each.label}"
        return f"segment {segment_id}" if segment_id in self.segments else ""

    def list_claims(self, session_id: str) -> frozenset[str]:
        """Return all claims that can apply to segments of that session."""
        whole = ["session"] if matches_any(session_id, self.sessions) else []
        labels = [f"speaker {each.label}" for each in self.speakers if matches_any(session_id, each.sessions)]
        single = [f"segment {each}" for each in self.segments]
        return frozenset((*whole, f"speaker {self.contributor}", *labels, *single))

    @property
    def digest(self) -> str:
        """Digest that represents the entry in the lake: the pseudonym and its data, without the consent."""
        data = self.model_dump(mode="json", include={"sessions", "speakers", "segments"})
        return compute_digest(["habla_ml.entry", self.contributor, data])[:32]

    def is_withdrawn(self, today: date) -> bool:
        """Return whether the consent is withdrawn on that day."""
        return self.withdrawn is not None and self.withdrawn <= today

    def is_awaited(self, today: date) -> bool:
        """Return whether a missing consent may still be granted."""
        return self.explain_refusal(today) is not None and not self.is_withdrawn(today)

    def explain_refusal(self, today: date) -> str | None:
        """Return why their data may not be used, or None."""
        if self.is_withdrawn(today):
            return f"the consent of its contributor was withdrawn on {self.withdrawn}"
        if self.given is None or self.given > today:
            return "its contributor has given no consent yet"
        if self.minor and (self.guardian_given is None or self.guardian_given > today):
            return "its contributor is a minor and no guardian has consented yet"
        return None


class Register(_RegisterModel):
    """All contributors."""

    contributors: tuple[Contributor, ...] = ()

    def find(self, contributor: str) -> Contributor | None:
        """Return the entry of a pseudonym in whatever spelling, or None."""
        return self._by_name.get(canonical_name(contributor))

    def find_contributors(self, session_id: str, speaker: str | None, segment_id: str) -> Iterator[Contributor]:
        """Yield the contributors of a segment; the cost depends on the entries that name more than a pseudonym."""
        named = self._by_name.get(canonical_name(speaker or ""))
        if named is not None:
            yield named
        for each in self._with_claims:
            if each is not named and each.covers(session_id, speaker, segment_id):
                yield each

    def find_refusing_contributor(
        self, session_id: str, speaker: str | None, segment_id: str, today: date
    ) -> Contributor | None:
        """Return a contributor of this segment without a valid consent, or None; a withdrawn consent comes first."""
        covering = self.find_contributors(session_id, speaker, segment_id)
        refused = (each for each in covering if each.explain_refusal(today))
        return min(refused, key=lambda each: not each.is_withdrawn(today), default=None)

    def may_cover(self, session_id: str) -> bool:
        """Return whether an entry can cover a segment of that session that has no speaker."""
        return any(
            not claim.startswith("speaker ") for each in self._with_claims for claim in each.list_claims(session_id)
        )

    def list_awaited(self, today: date) -> tuple[Contributor, ...]:
        """Return the contributors who may still consent."""
        return tuple(each for each in self.contributors if each.is_awaited(today))

    def find_next_start(self, today: date) -> date | None:
        """Return the next day after today on which a registered consent starts."""
        days = [day for each in self.contributors for day in (each.given, each.guardian_given)]
        return min((day for day in days if day is not None and day > today), default=None)

    @cached_property
    def _by_name(self) -> dict[str, Contributor]:
        return {canonical_name(each.contributor): each for each in self.contributors}

    @cached_property
    def _with_claims(self) -> tuple[Contributor, ...]:
        """The entries that can cover a segment of another speaker."""
        return tuple(each for each in self.contributors if each.sessions or each.speakers or each.segments)


def digest_claims(contributors: Iterable[Contributor], session_id: str) -> frozenset[str]:
    """Return the claims (`digest_claim`) of these contributors on a session."""
    return frozenset(
        digest_claim(each.contributor, claim) for each in contributors for claim in each.list_claims(session_id)
    )


def digest_claim(contributor: str, claim: str) -> str:
    """Return the digest that represents a claim in the lake, without pseudonym and speaker's name."""
    return compute_digest(["habla_ml.claim", contributor, claim])[:32]


def load_register(path: Path) -> Register:
    """Read a register.

    Raises `InputUnavailableError` if it cannot be read, has an unknown or repeated key or a wrong value, or gives two
    entries to one contributor.
    """
    return parse_register(read_register_bytes(path), path)


def read_register_bytes(path: Path) -> bytes:
    """Return the content of a register's file; raises `InputUnavailableError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputUnavailableError(f"consent register {path} cannot be read: {error}; fix consent.registry") from error


def parse_register(content: bytes, path: Path) -> Register:
    """Parse the content of a register's file; raises the errors of `load_register`."""
    try:
        text = content.decode("utf-8-sig")
        register = Register.model_validate(load_yaml(text) or {})
    except UnicodeDecodeError as error:
        raise InputUnavailableError(f"consent register {path} is not UTF-8: {error}; save it as UTF-8") from None
    except RepeatedKeyError as error:
        raise InputUnavailableError(f"consent register {path}: {error}") from None
    except yaml.YAMLError as error:
        # The full message quotes the lines around the fault, with names of people.
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" at line {mark.line + 1}"
        raise InputUnavailableError(
            f"consent register {path} cannot be read: it is not YAML{where}; fix the syntax"
        ) from None
    except ValidationError as error:
        found = [(".".join(map(str, each["loc"])), describe_fault(each, private=True)) for each in error.errors()[:5]]
        faults = "; ".join(f"{key}: {fault}" for key, fault in found)
        raise InputUnavailableError(f"consent register {path} is not valid: {faults}; see docs/consent.md") from None
    first: dict[str, int] = {}
    for index, each in enumerate(register.contributors):
        if (earlier := first.setdefault(canonical_name(each.contributor), index)) < index:
            lines = find_entry_lines(text, "contributors")
            raise InputUnavailableError(
                f"consent register {path} has two entries for one contributor, at lines {lines[earlier]} and "
                f"{lines[index]} ({_EXPLAIN_SPELLINGS}); join them into one"
            )
    return register


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name matches one of these patterns."""
    return any(matches_pattern(name, pattern) for pattern in patterns)
