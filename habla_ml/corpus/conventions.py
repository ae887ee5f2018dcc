"""Transcription conventions: versioned rules for the spelling of transcripts, with test cases that must pass.

A conventions file is YAML. It has ordered rules, each a replacement, and requirements: patterns that a text must match
or must not match. A broken requirement changes no text; it is reported as a *violation* for a person to check. Every
rule, every requirement and the whole file have test cases; a file with a failing case is refused. Text as typed never
changes: the corpus builder applies the conventions, and stores their digest with each day.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from habla_ml.damaged_text import compose_visible, find_damage
from habla_ml.errors import CorpusError
from habla_ml.lake import compute_digest
from habla_ml.settings.yaml_loader import load_yaml

_RULES_FORMAT: Final = "habla_ml.conventions/1"
LONGEST_TYPED_CHARS: Final = 2_000
"""More than 30 s of the fastest speech; the patterns of a file never see a longer text."""
_KEPT_WITHOUT_WORDS: Final = ("unknown marker", "damaged text")
"""Problems that say more about a text without a word than that it has none."""
# Everything in square brackets is a marker; a marker that the file does not list is unknown.
_MARKER: Final = re.compile(r"\[[^\[\]]*\]")


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConventionCase(_StrictModel):
    """A text and its expected sentence; `to: null` expects no usable reference."""

    text: Annotated[str, Field(alias="from")]
    to: str | None
    violations: tuple[str, ...] | None = None
    """All requirements that the text breaks, in the file's order; None: not checked."""


class ConventionRule(_StrictModel):
    """One replacement, applied everywhere in the text after the earlier rules."""

    name: str
    pattern: str
    replacement: str
    explanation: str
    tests: Annotated[tuple[ConventionCase, ...], Field(min_length=1)]


class RequirementCase(_StrictModel):
    """A text, and whether it satisfies the requirement."""

    text: str
    holds: bool


class Requirement(_StrictModel):
    """A pattern for texts; a text that breaks it is reported and stays unchanged."""

    name: str
    of: Literal["typed", "sentence"]
    """The text to check: exactly as typed, or the sentence after the rules."""
    must_match: str | None = None
    must_not_match: str | None = None
    explanation: str
    tests: Annotated[tuple[RequirementCase, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _require_pattern_and_cases(self) -> Self:
        if (self.must_match is None) == (self.must_not_match is None):
            raise ValueError(f"{self.name!r} needs either must_match or must_not_match")
        if {case.holds for case in self.tests} != {True, False}:
            raise ValueError(f"{self.name!r} needs a case with holds: true and one with holds: false")
        return self

    def is_broken_by(self, text: str | None, pattern: re.Pattern[str]) -> bool:
        """Return whether the text breaks the requirement; `pattern` is the compiled pattern of the requirement."""
        return text is not None and (pattern.search(text) is None) is (self.must_not_match is None)


class Markers(_StrictModel):
    """Markers in square brackets for what is not written as words."""

    removed: tuple[str, ...]
    """No speech: removed; the rest is a complete reference."""
    incomplete: tuple[str, ...]
    """Missing words: the segment is no usable reference."""


class _ConventionsFile(_StrictModel):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    version: Annotated[int, Field(ge=1)]
    description: str
    unicode: Literal["NFC"]
    markers: Markers
    rules: tuple[ConventionRule, ...]
    requirements: tuple[Requirement, ...] = ()
    tests: Annotated[tuple[ConventionCase, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _require_unique_names(self) -> Self:
        names = [each.name for each in self.requirements]
        if len(set(names)) < len(names):
            raise ValueError(f"two requirements have the same name: {sorted(names)}")
        return self


@dataclass(frozen=True, slots=True)
class NormalisedText:
    """A typed text under conventions."""

    sentence: str
    """Text for the corpus; empty if nothing remains."""
    problem: str | None
    """Why the text is no usable reference, or None.

    One of `empty`, `only markers`, `words missing`, `unknown marker`, `damaged text`, `too long`.
    """
    violations: tuple[str, ...] = ()
    """Names of the broken requirements, in the file's order."""


@dataclass(frozen=True)
class Conventions:
    """Compiled rules; made by `load_conventions`."""

    name: str
    version: int
    digest: str
    """sha256 of everything that decides a sentence or a violation."""
    markers: Markers
    rules: tuple[tuple[re.Pattern[str], str], ...]
    """Patterns and their replacements, in order."""
    requirements: tuple[tuple[Requirement, re.Pattern[str]], ...]

    @property
    def title(self) -> str:
        """Name and version, e.g. `orthographic-v1`."""
        return f"{self.name}-v{self.version}"

    def read(self, text: str) -> NormalisedText:
        """Return the sentence of a typed text, why it is no usable reference, and the requirements it breaks.

        A text without a remaining sentence is checked only against requirements for the text as typed. A text longer
        than `LONGEST_TYPED_CHARS` is not read, because a pattern can take a time that grows with the square of the
        length.
        """
        if len(text) > LONGEST_TYPED_CHARS:
            return NormalisedText("", "too long")
        composed = compose_visible(text)
        unmarked, problem = self._remove_markers(composed)
        problem = problem or ("damaged text" if find_damage(text) else None)
        # A rule that removes a zero-width character can join a letter and its accent.
        sentence = unicodedata.normalize("NFC", self._apply_rules(unmarked))
        if not any(character.isalnum() for character in sentence):
            marked = unmarked != composed or any(not character.isspace() for character in text)
            reason = problem if problem in _KEPT_WITHOUT_WORDS else "only markers" if marked else "empty"
            return NormalisedText("", reason, self._find_violations(text, None))
        return NormalisedText(sentence, problem, self._find_violations(text, sentence))

    def _find_violations(self, text: str, sentence: str | None) -> tuple[str, ...]:
        texts = {"typed": text, "sentence": sentence}
        return tuple(each.name for each, pattern in self.requirements if each.is_broken_by(texts[each.of], pattern))

    def _remove_markers(self, text: str) -> tuple[str, str | None]:
        problems: list[str] = []

        def replace(match: re.Match[str]) -> str:
            marker = match[0].casefold()
            if marker not in self.markers.removed:
                problems.append("words missing" if marker in self.markers.incomplete else "unknown marker")
            return " "

        return _MARKER.sub(replace, text), problems[0] if problems else None

    def _apply_rules(self, text: str) -> str:
        for pattern, replacement in self.rules:
            # Each rule applies to few texts, and a search is several times cheaper than a substitution with groups.
            if pattern.search(text) is not None:
                text = pattern.sub(replacement, text)
        return text


def load_conventions(path: Path) -> Conventions:
    """Read a conventions file and check every test case in it.

    Raises:
        CorpusError: The file cannot be read, a rule is malformed, or a test case fails; names the rule, the text, the
            result and the expectation.
    """
    try:
        file = _ConventionsFile.model_validate(load_yaml(path.read_text("utf-8-sig")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CorpusError(f"conventions {path} cannot be read as YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors())
        raise CorpusError(f"conventions {path}: {faults}") from None
    conventions = Conventions(
        name=file.name,
        version=file.version,
        digest=compute_digest([_RULES_FORMAT, unicodedata.unidata_version, _select_digest_fields(file)]),
        markers=file.markers,
        rules=tuple(_compile_rule(path, rule) for rule in file.rules),
        requirements=tuple((each, _compile_requirement(path, each)) for each in file.requirements),
    )
    for case in file.tests:
        reading = conventions.read(case.text)
        _require_case(path, "tests", case, None if reading.problem else reading.sentence)
        if case.violations is not None and case.violations != reading.violations:
            raise CorpusError(
                f"conventions {path}, tests: {case.text!r} breaks {list(reading.violations)}, but its case expects "
                f"{list(case.violations)}; correct the requirement or the case"
            )
    return conventions


def _select_digest_fields(file: _ConventionsFile) -> object:
    """Return the content of the digest; requirements count only where a file has some, so older digests stay valid."""
    body = file.model_dump(exclude={"description", "tests"}, exclude_defaults=True)
    for requirement in body.get("requirements", ()):
        del requirement["explanation"], requirement["tests"]
    return body


def _compile_requirement(path: Path, requirement: Requirement) -> re.Pattern[str]:
    where = f"conventions {path}, requirement {requirement.name}"
    pattern = requirement.must_not_match if requirement.must_match is None else requirement.must_match
    try:
        compiled = re.compile(pattern or "")
    except re.error as error:
        raise CorpusError(f"{where}: invalid pattern: {error}; correct it") from error
    for case in requirement.tests:
        if requirement.is_broken_by(case.text, compiled) is case.holds:
            raise CorpusError(
                f"{where}: {case.text!r} {'breaks' if case.holds else 'satisfies'} it, but its case expects "
                f"holds: {str(case.holds).lower()}; correct the requirement or the case"
            )
    return compiled


def _compile_rule(path: Path, rule: ConventionRule) -> tuple[re.Pattern[str], str]:
    try:
        pattern = re.compile(rule.pattern)
        for case in rule.tests:
            _require_case(path, f"rule {rule.name}", case, pattern.sub(rule.replacement, case.text))
    except (re.error, IndexError) as error:
        where = f"conventions {path}, rule {rule.name}"
        raise CorpusError(f"{where}: invalid pattern or replacement: {error}; correct it") from error
    return pattern, rule.replacement


def _require_case(path: Path, where: str, case: ConventionCase, found: str | None) -> None:
    if found != case.to:
        raise CorpusError(
            f"conventions {path}, {where}: {case.text!r} becomes {found!r}, but its case expects {case.to!r}; "
            "correct the rule or the case"
        )
