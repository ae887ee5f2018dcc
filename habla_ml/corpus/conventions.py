"""Conventions: how a transcript is written, as versioned rules that prove themselves before they load.

A convention is a YAML file of ordered rules, each a replacement, and of requirements: patterns that a text must
match or must not. A broken requirement changes nothing; it is listed as a *violation*, so that a person can look
again. Each rule and requirement carries its own test cases, and the whole convention carries some too; a file whose
cases do not hold is refused. Text as typed is never changed: conventions are applied on the way to the corpus, and
their digest tells which text was written under which rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from habla_ml.errors import CorpusError
from habla_ml.lake import compute_digest

_RULES_FORMAT: Final = "habla_ml.conventions/1"


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConventionCase(_StrictModel):
    """A text and what becomes of it; `to: null` says that it is no usable reference."""

    text: Annotated[str, Field(alias="from")]
    to: str | None
    violations: tuple[str, ...] | None = None
    """Exactly the requirements that the text breaks, in the file's order; None: not looked at."""


class ConventionRule(_StrictModel):
    """One replacement, applied everywhere in the text, after the rules before it."""

    name: str
    pattern: str
    replacement: str
    explanation: str
    tests: Annotated[tuple[ConventionCase, ...], Field(min_length=1)]


class RequirementCase(_StrictModel):
    """A text, and whether it meets the requirement."""

    text: str
    holds: bool


class Requirement(_StrictModel):
    """What a text must look like; one that does not is listed and stays as it is."""

    name: str
    of: Literal["typed", "sentence"]
    """Which text is looked at: as typed, to the byte, or as the rules have written it."""
    must_match: str | None = None
    """Found somewhere in a text that meets the requirement."""
    must_not_match: str | None = None
    """Found nowhere in a text that meets the requirement."""
    explanation: str
    tests: Annotated[tuple[RequirementCase, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _require_pattern_and_cases(self) -> Self:
        if (self.must_match is None) == (self.must_not_match is None):
            raise ValueError(f"{self.name!r} needs either must_match or must_not_match")
        if {case.holds for case in self.tests} != {True, False}:
            raise ValueError(f"{self.name!r} needs a case that holds and one that does not")
        return self


class Markers(_StrictModel):
    """What stands for something that is not written as words."""

    removed: tuple[str, ...]
    """Nothing was spoken: taken out, the rest is a whole reference."""
    incomplete: tuple[str, ...]
    """Words are missing: the segment is no usable reference."""


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
            raise ValueError(f"two requirements have one name among {sorted(names)}")
        return self


@dataclass(frozen=True, slots=True)
class NormalisedText:
    """A typed text under conventions."""

    sentence: str
    """What stands in the corpus; empty where nothing is left."""
    problem: str | None
    """Why it is no usable reference: `empty`, `only markers`, `words missing`, `unknown marker`, or None."""
    violations: tuple[str, ...] = ()
    """Names of the requirements it does not meet, in the file's order."""


@dataclass(frozen=True)
class _CompiledRequirement:
    """A requirement, compiled."""

    place: int
    name: str
    search: Callable[[str], object]
    wanted: bool

    def is_broken_by(self, text: str) -> bool:
        return (self.search(text) is not None) is not self.wanted


@dataclass(frozen=True)
class Conventions:
    """Rules ready to be applied; `load_conventions` makes them."""

    name: str
    version: int
    description: str
    digest: str
    """sha256 of everything that decides a sentence or a violation."""
    rules: tuple[ConventionRule, ...]
    requirements: tuple[Requirement, ...]
    markers: Markers
    _compiled_rules: tuple[tuple[re.Pattern[str], str], ...]
    _typed_requirements: tuple[_CompiledRequirement, ...]
    _sentence_requirements: tuple[_CompiledRequirement, ...]
    _marker_pattern: re.Pattern[str]

    @property
    def title(self) -> str:
        """Name and version, e.g. `orthographic-v1`."""
        return f"{self.name}-v{self.version}"

    def read(self, text: str) -> NormalisedText:
        """The sentence a typed text becomes, whether it can be a reference, and which requirements it breaks.

        Of a text that leaves no sentence only what asks about the text as typed is looked at.
        """
        composed = unicodedata.normalize("NFC", text)
        unmarked, problem = self._remove_markers(composed)
        sentence = self._apply_rules(unmarked)
        if not any(character.isalnum() for character in sentence):
            marked = unmarked != composed or any(not character.isspace() for character in text)
            reason = problem if problem == "unknown marker" else "only markers" if marked else "empty"
            return NormalisedText("", reason, self._find_violations(text, None))
        return NormalisedText(sentence, problem, self._find_violations(text, sentence))

    def _find_violations(self, text: str, sentence: str | None) -> tuple[str, ...]:
        broken = [each for each in self._typed_requirements if each.is_broken_by(text)]
        if sentence is not None:
            broken += [each for each in self._sentence_requirements if each.is_broken_by(sentence)]
        if not broken:
            return ()
        return tuple(each.name for each in sorted(broken, key=lambda check: check.place))

    def _remove_markers(self, text: str) -> tuple[str, str | None]:
        problems: list[str] = []

        def replace(match: re.Match[str]) -> str:
            marker = match[0].casefold()
            if marker not in self.markers.removed:
                problems.append("words missing" if marker in self.markers.incomplete else "unknown marker")
            return " "

        return (
            (self._marker_pattern.sub(replace, text), problems[0] if problems else None)
            if "[" in text
            else (text, None)
        )

    def _apply_rules(self, text: str) -> str:
        for pattern, replacement in self._compiled_rules:
            # Few texts need any one rule, and a search is several times cheaper than a substitution with groups.
            if pattern.search(text) is not None:
                text = pattern.sub(replacement, text)
        return text


def load_conventions(path: Path) -> Conventions:
    """Read a convention file and try every test case in it.

    Raises:
        CorpusError: the file cannot be read, a rule is malformed, or a case does not hold; names the rule, the
            text, what became of it and what was expected.
    """
    try:
        file = _ConventionsFile.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CorpusError(f"conventions {path} cannot be read as YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()
        )
        raise CorpusError(f"conventions {path}: {faults}") from None
    checks = [(each.of, _compile_requirement(path, place, each)) for place, each in enumerate(file.requirements)]
    conventions = Conventions(
        name=file.name,
        version=file.version,
        description=file.description,
        digest=compute_digest([_RULES_FORMAT, unicodedata.unidata_version, _select_digest_fields(file)]),
        rules=file.rules,
        requirements=file.requirements,
        markers=file.markers,
        _compiled_rules=tuple(_compile_rule(path, rule) for rule in file.rules),
        _typed_requirements=tuple(check for of, check in checks if of == "typed"),
        _sentence_requirements=tuple(check for of, check in checks if of == "sentence"),
        # Anything in square brackets is a marker: one that is not listed is an unknown one.
        _marker_pattern=re.compile(r"\[[^\[\]]*\]"),
    )
    for case in file.tests:
        reading = conventions.read(case.text)
        _require_case(path, "tests", case, None if reading.problem else reading.sentence)
        if case.violations is not None and case.violations != reading.violations:
            raise CorpusError(
                f"conventions {path}, tests: {case.text!r} breaks {list(reading.violations)}, its case expects "
                f"{list(case.violations)}; mend the requirement or the case"
            )
    return conventions


def _select_digest_fields(file: _ConventionsFile) -> object:
    """What enters the digest; a file without requirements keeps the digest it had before there were any."""
    body = file.model_dump(exclude={"description", "tests"}, exclude_defaults=True)
    for requirement in body.get("requirements", ()):
        del requirement["explanation"], requirement["tests"]
    return body


def _compile_requirement(path: Path, place: int, requirement: Requirement) -> _CompiledRequirement:
    pattern = requirement.must_not_match if requirement.must_match is None else requirement.must_match
    try:
        search = re.compile(pattern or "").search
    except re.error as error:
        raise CorpusError(
            f"conventions {path}, requirement {requirement.name}: pattern is wrong: {error}"
        ) from error
    check = _CompiledRequirement(place, requirement.name, search, requirement.must_match is not None)
    for case in requirement.tests:
        if check.is_broken_by(case.text) is case.holds:
            found = "breaks" if case.holds else "meets"
            raise CorpusError(
                f"conventions {path}, requirement {requirement.name}: {case.text!r} {found} it, its case expects "
                f"holds: {str(case.holds).lower()}; mend the requirement or the case"
            )
    return check


def _compile_rule(path: Path, rule: ConventionRule) -> tuple[re.Pattern[str], str]:
    try:
        pattern = re.compile(rule.pattern)
        for case in rule.tests:
            _require_case(path, f"rule {rule.name}", case, pattern.sub(rule.replacement, case.text))
    except (re.error, IndexError) as error:
        raise CorpusError(
            f"conventions {path}, rule {rule.name}: pattern or replacement is wrong: {error}"
        ) from error
    return pattern, rule.replacement


def _require_case(path: Path, where: str, case: ConventionCase, found: str | None) -> None:
    if found != case.to:
        raise CorpusError(
            f"conventions {path}, {where}: {case.text!r} becomes {found!r}, its case expects {case.to!r}; "
            "mend the rule or the case"
        )
