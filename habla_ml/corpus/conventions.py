"""Conventions: how a transcript is written, as versioned rules that prove themselves before they load.

A convention is a YAML file of ordered rules. Each rule carries its own test cases, and the whole convention
carries some too; a file whose cases do not hold is refused. Text as typed is never changed: conventions are
applied on the way to the corpus, and their digest tells which text was written under which rules.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from habla_ml.errors import CorpusError
from habla_ml.lake import digest_of

_ENGINE: Final = "habla_ml.conventions/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Strict):
    """A text and what becomes of it; `to: null` says that it is no usable reference."""

    text: Annotated[str, Field(alias="from")]
    to: str | None


class Rule(_Strict):
    """One replacement, applied everywhere in the text, after the rules before it."""

    name: str
    pattern: str
    replacement: str
    explanation: str
    tests: Annotated[tuple[Case, ...], Field(min_length=1)]


class Markers(_Strict):
    """What stands for something that is not written as words."""

    removed: tuple[str, ...]
    """Nothing was spoken: taken out, the rest is a whole reference."""
    incomplete: tuple[str, ...]
    """Words are missing: the segment is no usable reference."""


class _File(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    version: Annotated[int, Field(ge=1)]
    description: str
    unicode: Literal["NFC"]
    markers: Markers
    rules: tuple[Rule, ...]
    tests: Annotated[tuple[Case, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Reading:
    """A typed text under conventions."""

    sentence: str
    """What stands in the corpus; empty where nothing is left."""
    problem: str | None
    """Why it is no usable reference: `empty`, `only markers`, `words missing`, `unknown marker`, or None."""


@dataclass(frozen=True)
class Conventions:
    """Rules ready to be applied; `load_conventions` makes them."""

    name: str
    version: int
    description: str
    digest: str
    """sha256 of everything that decides a sentence."""
    rules: tuple[Rule, ...]
    markers: Markers
    _compiled: tuple[tuple[re.Pattern[str], str], ...]
    _marker: re.Pattern[str]

    @property
    def title(self) -> str:
        """Name and version, e.g. `orthographic-v1`."""
        return f"{self.name}-v{self.version}"

    def apply(self, text: str) -> str:
        """The sentence that a typed text becomes."""
        return self.read(text).sentence

    def read(self, text: str) -> Reading:
        """The sentence a typed text becomes, and whether it can be a reference."""
        composed = unicodedata.normalize("NFC", text)
        unmarked, problem = self._without_markers(composed)
        sentence = self._rewritten(unmarked)
        if not any(character.isalnum() for character in sentence):
            marked = unmarked != composed or any(not character.isspace() for character in text)
            return Reading("", problem if problem == "unknown marker" else "only markers" if marked else "empty")
        return Reading(sentence, problem)

    def _without_markers(self, text: str) -> tuple[str, str | None]:
        problems: list[str] = []

        def replace(match: re.Match[str]) -> str:
            marker = match[0].casefold()
            if marker not in self.markers.removed:
                problems.append("words missing" if marker in self.markers.incomplete else "unknown marker")
            return " "

        return (
            (self._marker.sub(replace, text), problems[0] if problems else None) if "[" in text else (text, None)
        )

    def _rewritten(self, text: str) -> str:
        for pattern, replacement in self._compiled:
            text = pattern.sub(replacement, text)
        return text


def load_conventions(path: Path) -> Conventions:
    """Read a convention file and try every test case in it.

    Raises:
        CorpusError: the file cannot be read, a rule is malformed, or a case does not hold; names the rule, the
            text, what became of it and what was expected.
    """
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CorpusError(f"conventions {path} cannot be read as YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()
        )
        raise CorpusError(f"conventions {path}: {faults}") from None
    conventions = Conventions(
        name=file.name,
        version=file.version,
        description=file.description,
        digest=digest_of(
            [_ENGINE, unicodedata.unidata_version, file.model_dump(exclude={"description", "tests"})]
        ),
        rules=file.rules,
        markers=file.markers,
        _compiled=tuple(_compile(path, rule) for rule in file.rules),
        # Anything in square brackets is a marker: one that is not listed is an unknown one.
        _marker=re.compile(r"\[[^\[\]]*\]"),
    )
    for case in file.tests:
        reading = conventions.read(case.text)
        _hold(path, "tests", case, None if reading.problem else reading.sentence)
    return conventions


def _compile(path: Path, rule: Rule) -> tuple[re.Pattern[str], str]:
    try:
        pattern = re.compile(rule.pattern)
        for case in rule.tests:
            _hold(path, f"rule {rule.name}", case, pattern.sub(rule.replacement, case.text))
    except (re.error, IndexError) as error:
        raise CorpusError(
            f"conventions {path}, rule {rule.name}: pattern or replacement is wrong: {error}"
        ) from error
    return pattern, rule.replacement


def _hold(path: Path, where: str, case: Case, found: str | None) -> None:
    if found != case.to:
        raise CorpusError(
            f"conventions {path}, {where}: {case.text!r} becomes {found!r}, its case expects {case.to!r}; "
            "mend the rule or the case"
        )
