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


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Voice(_Entry):
    """A speaker label, and the sessions in which it means this contributor."""

    label: Annotated[str, Field(min_length=1)]
    sessions: tuple[str, ...] = ("*",)
    """Patterns of session names (`*`, `?`); every session for an enrolled name."""


class Contributor(_Entry):
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
    segments: tuple[str, ...] = ()
    """Ids of single segments."""

    def covers(self, session_id: str, speaker: str | None, segment_id: str) -> bool:
        """Whether a segment is theirs."""
        if segment_id in self.segments or _matches(session_id, self.sessions):
            return True
        label = (speaker or "").strip()
        return any(label == voice.label and _matches(session_id, voice.sessions) for voice in self.speakers)

    def is_withdrawn(self, today: date) -> bool:
        """Whether the consent was taken back by that day."""
        return self.withdrawn is not None and self.withdrawn <= today

    def refusal(self, today: date) -> str | None:
        """Why what is theirs may not be used, or None."""
        if self.is_withdrawn(today):
            return f"the consent of its contributor was withdrawn on {self.withdrawn}"
        if self.given is None or self.given > today:
            return "its contributor has given no consent yet"
        if self.minor and (self.guardian_given is None or self.guardian_given > today):
            return "its contributor is a minor and no guardian has consented yet"
        return None


class Register(_Entry):
    """All contributors."""

    contributors: tuple[Contributor, ...] = ()

    def find(self, contributor: str) -> Contributor | None:
        """The entry of a pseudonym, or None."""
        return next((each for each in self.contributors if each.contributor == contributor), None)

    def refusing(self, session_id: str, speaker: str | None, segment_id: str, today: date) -> Contributor | None:
        """A contributor of this segment whose consent does not stand, or None; nobody's segments may be used."""
        for each in self.contributors:
            if each.refusal(today) and each.covers(session_id, speaker, segment_id):
                return each
        return None

    def withdrawn(self, today: date) -> tuple[Contributor, ...]:
        """Those whose consent is withdrawn."""
        return tuple(each for each in self.contributors if each.is_withdrawn(today))


def load_register(path: Path) -> Register:
    """Read a register.

    Raises:
        InputError: it cannot be read, holds an unknown key, or names a contributor twice.
    """
    try:
        register = Register.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"consent register {path} cannot be read: {error}; mend consent.registry") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise InputError(f"consent register {path} is not one: {faults}; see docs/consent.md") from error
    names = [each.contributor for each in register.contributors]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"consent register {path} names {twice[0]!r} twice; join the entries into one")
    return register


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
