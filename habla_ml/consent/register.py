"""The register of consents: a YAML file of pseudonymous contributors, outside the lake.

Each entry has the dates of the consent (for a minor also a guardian's) and the contributor's data: whole sessions,
speaker labels in sessions, or single segments. Keep an entry after its withdrawal: it recognises data restored from a
backup.
"""

from __future__ import annotations

from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from habla_ml.errors import InputError
from habla_ml.lake import compute_digest


class _RegisterModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Voice(_RegisterModel):
    """A speaker label of this contributor and its sessions."""

    label: Annotated[str, Field(min_length=1)]
    sessions: tuple[str, ...] = ("*",)
    """Patterns of session names (`*`, `?`); all sessions for an enrolled name."""


class Contributor(_RegisterModel):
    """A pseudonymous person, their consent and their data."""

    contributor: Annotated[str, Field(min_length=1)]
    """A pseudonym; keep the real name elsewhere."""
    minor: bool = False
    given: date | None = None
    guardian_given: date | None = None
    withdrawn: date | None = None
    sessions: tuple[str, ...] = ()
    """Patterns of the names of sessions that belong to them entirely."""
    speakers: tuple[Voice, ...] = ()
    """Their labels; the pseudonym itself is one in every session."""
    segments: tuple[str, ...] = ()

    def covers(self, session_id: str, speaker: str | None, segment_id: str) -> bool:
        """Return whether a segment belongs to this contributor."""
        return self.find_claim(session_id, speaker, segment_id) != ""

    def find_claim(self, session_id: str, speaker: str | None, segment_id: str) -> str:
        """Return the claim on a segment (its session, speaker label or id); empty if there is none."""
        if _matches_any(session_id, self.sessions):
            return "session"
        label = (speaker or "").strip()
        voices = (each for each in self.speakers if each.label == label)
        if label == self.contributor or any(_matches_any(session_id, each.sessions) for each in voices):
            return f"speaker {label}"
        return f"segment {segment_id}" if segment_id in self.segments else ""

    def list_claims(self, session_id: str) -> frozenset[str]:
        """Return all claims that can apply to segments of that session."""
        whole = ["session"] if _matches_any(session_id, self.sessions) else []
        labels = [f"speaker {each.label}" for each in self.speakers if _matches_any(session_id, each.sessions)]
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
        """Return the entry of a pseudonym, or None."""
        return next((each for each in self.contributors if each.contributor == contributor), None)

    def find_refusing_contributor(
        self, session_id: str, speaker: str | None, segment_id: str, today: date
    ) -> Contributor | None:
        """Return a contributor of this segment without a valid consent, or None."""
        refused = (each for each in self.contributors if each.explain_refusal(today))
        return next((each for each in refused if each.covers(session_id, speaker, segment_id)), None)

    def may_cover(self, session_id: str) -> bool:
        """Return whether an entry can cover a segment of that session that has no speaker."""
        return any(
            not claim.startswith("speaker ") for each in self.contributors for claim in each.list_claims(session_id)
        )

    def list_awaited_claims(self, session_id: str, today: date) -> frozenset[str]:
        """Return the claims (`digest_claim`) on a session by contributors who may still consent."""
        return frozenset(
            digest_claim(each.contributor, claim)
            for each in self.contributors
            if each.is_awaited(today)
            for claim in each.list_claims(session_id)
        )

    def find_next_start(self, today: date) -> date | None:
        """Return the next day after today on which a registered consent starts."""
        days = [day for each in self.contributors for day in (each.given, each.guardian_given)]
        return min((day for day in days if day is not None and day > today), default=None)


def digest_claim(contributor: str, claim: str) -> str:
    """Return the digest that represents a claim in the lake, without pseudonym and speaker's name."""
    return compute_digest(["habla_ml.claim", contributor, claim])[:32]


def load_register(path: Path) -> Register:
    """Read a register. Raises `InputError` if it cannot be read, has an unknown key, or names a contributor twice."""
    return parse_register(read_register_bytes(path), path)


def read_register_bytes(path: Path) -> bytes:
    """Return the content of a register's file; raises `InputError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"consent register {path} cannot be read: {error}; fix consent.registry") from error


def parse_register(content: bytes, path: Path) -> Register:
    """Parse the content of a register's file; raises the errors of `load_register`."""
    try:
        register = Register.model_validate(yaml.safe_load(content.decode("utf-8")) or {})
    except UnicodeDecodeError as error:
        raise InputError(f"consent register {path} is not UTF-8: {error}; save it as UTF-8") from None
    except yaml.YAMLError as error:
        # The full message quotes the lines around the fault, with names of people.
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" at line {mark.line + 1}"
        raise InputError(f"consent register {path} cannot be read: it is not YAML{where}; fix the syntax") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise InputError(f"consent register {path} is not valid: {faults}; see docs/consent.md") from error
    names = [each.contributor for each in register.contributors]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"consent register {path} names {twice[0]!r} twice; join the entries into one")
    return register


def _matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
