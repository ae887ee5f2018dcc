"""The register of consents: a YAML file of pseudonymous contributors, kept outside the lake by who answers for it.

It says for each contributor whether and since when there is a consent (and a guardian's, for a minor) and what is
theirs: whole sessions, speaker labels in sessions, or single segments. An entry outlives its withdrawal: what comes
back from a backup is recognised by it.
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
    """A speaker label, and the sessions in which it means this contributor."""

    label: Annotated[str, Field(min_length=1)]
    sessions: tuple[str, ...] = ("*",)
    """Patterns of session names (`*`, `?`); every session for an enrolled name."""


class Contributor(_RegisterModel):
    """One person behind a pseudonym, their consent and what is theirs."""

    contributor: Annotated[str, Field(min_length=1)]
    """A pseudonym; the name behind it is kept elsewhere."""
    minor: bool = False
    given: date | None = None
    guardian_given: date | None = None
    withdrawn: date | None = None
    sessions: tuple[str, ...] = ()
    """Patterns of the names of sessions that are theirs as a whole."""
    speakers: tuple[Voice, ...] = ()
    """Labels that mean them; the pseudonym itself is one, in every session."""
    segments: tuple[str, ...] = ()
    """Ids of single segments."""

    def covers(self, session_id: str, speaker: str | None, segment_id: str) -> bool:
        """Whether a segment is theirs."""
        return self.find_claim(session_id, speaker, segment_id) != ""

    def find_claim(self, session_id: str, speaker: str | None, segment_id: str) -> str:
        """By what a segment is theirs: its session, its speaker's label or its own id; empty where it is not."""
        if _matches_any(session_id, self.sessions):
            return "session"
        label = (speaker or "").strip()
        if label == self.contributor or any(
            label == voice.label and _matches_any(session_id, voice.sessions) for voice in self.speakers
        ):
            return f"speaker {label}"
        return f"segment {segment_id}" if segment_id in self.segments else ""

    def list_claims(self, session_id: str) -> frozenset[str]:
        """Everything by which a segment of that session could be theirs."""
        whole = ["session"] if _matches_any(session_id, self.sessions) else []
        labels = [f"speaker {each.label}" for each in self.speakers if _matches_any(session_id, each.sessions)]
        single = [f"segment {each}" for each in self.segments]
        return frozenset((*whole, f"speaker {self.contributor}", *labels, *single))

    @property
    def digest(self) -> str:
        """What stands in the lake for the entry: the pseudonym and what is theirs; their consent is no part of it."""
        theirs = self.model_dump(mode="json", include={"sessions", "speakers", "segments"})
        return compute_digest(["habla_ml.entry", self.contributor, theirs])[:32]

    def is_withdrawn(self, today: date) -> bool:
        """Whether the consent was taken back by that day."""
        return self.withdrawn is not None and self.withdrawn <= today

    def is_awaited(self, today: date) -> bool:
        """Whether a consent is lacking that may still come."""
        return self.explain_refusal(today) is not None and not self.is_withdrawn(today)

    def explain_refusal(self, today: date) -> str | None:
        """Why what is theirs may not be used, or None."""
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
        """The entry of a pseudonym, or None."""
        return next((each for each in self.contributors if each.contributor == contributor), None)

    def find_refusing_contributor(
        self, session_id: str, speaker: str | None, segment_id: str, today: date
    ) -> Contributor | None:
        """A contributor of this segment whose consent does not stand, or None; nobody's segments may be used."""
        for each in self.contributors:
            if each.explain_refusal(today) and each.covers(session_id, speaker, segment_id):
                return each
        return None

    def may_cover(self, session_id: str) -> bool:
        """Whether an entry can speak for a segment of that session of which nobody says whose voice it is."""
        return any(
            not claim.startswith("speaker ")
            for each in self.contributors
            for claim in each.list_claims(session_id)
        )

    def list_awaited_claims(self, session_id: str, today: date) -> frozenset[str]:
        """The claims (`digest_claim`) on a session by those whose consent may still come."""
        return frozenset(
            digest_claim(each.contributor, claim)
            for each in self.contributors
            if each.is_awaited(today)
            for claim in each.list_claims(session_id)
        )

    def find_next_start(self, today: date) -> date | None:
        """The next day after today on which a consent that is written down already begins."""
        days = [day for each in self.contributors for day in (each.given, each.guardian_given)]
        return min((day for day in days if day is not None and day > today), default=None)

    def list_withdrawn(self, today: date) -> tuple[Contributor, ...]:
        """Those whose consent is withdrawn."""
        return tuple(each for each in self.contributors if each.is_withdrawn(today))


def digest_claim(contributor: str, claim: str) -> str:
    """What stands in the lake for a contributor's claim on segments: no pseudonym, no speaker's name."""
    return compute_digest(["habla_ml.claim", contributor, claim])[:32]


def load_register(path: Path) -> Register:
    """Read a register.

    Raises:
        InputError: it cannot be read, holds an unknown key, or names a contributor twice.
    """
    return parse_register(read_register_bytes(path), path)


def read_register_bytes(path: Path) -> bytes:
    """A register's file as it is; raises `InputError` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"consent register {path} cannot be read: {error}; mend consent.registry") from error


def parse_register(content: bytes, path: Path) -> Register:
    """The register in a file's content; raises as `load_register` does."""
    try:
        register = Register.model_validate(yaml.safe_load(content.decode("utf-8")) or {})
    except UnicodeDecodeError as error:
        raise InputError(f"consent register {path} is not UTF-8: {error}; mend it") from None
    except yaml.YAMLError as error:
        # The whole message repeats the lines around the fault, with people's names.
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" at line {mark.line + 1}"
        raise InputError(f"consent register {path} cannot be read: it is no YAML{where}; mend it") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise InputError(f"consent register {path} is not one: {faults}; see docs/consent.md") from error
    names = [each.contributor for each in register.contributors]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"consent register {path} names {twice[0]!r} twice; join the entries into one")
    return register


def _matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
