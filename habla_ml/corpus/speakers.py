"""The speaker map: labels of enrolled people across sessions, and their roles.

Names, labels and sessions are compared in their canonical form (`habla_ml.names`). Habla's labels are local to a
session. All sessions of an enrolled student stay in one split, unless that would join too much of the corpus. A
teacher does not connect sessions, because a teacher speaks in all of them. The contributors of uploaded clips are
enrolled by their pseudonym, as students: their label is one person in every session.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from habla_ml.errors import SettingsError
from habla_ml.names import canonical_name, is_same_name, matches_pattern
from habla_ml.recordings.speaker_labels import is_local_speaker_label
from habla_ml.recordings.upload_names import is_upload_session
from habla_ml.settings import Settings
from habla_ml.settings.yaml_files import format_validation_errors, read_mapping
from habla_ml.settings.yaml_loader import find_entry_lines


class EnrolledPerson(BaseModel):
    """An enrolled person: their labels in the sessions with names that match one of the globs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    role: Literal["teacher", "student"]
    labels: tuple[str, ...] = Field(min_length=1)
    sessions: tuple[str, ...] = ("*",)


class SpeakerMap(BaseModel):
    """All enrolled people; the only key of the file is `people`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: tuple[EnrolledPerson, ...] = ()

    def find_person(self, session: str, label: str) -> EnrolledPerson | None:
        """Return the person of a label in a session, or None if no person is enrolled for it.

        Raises:
            SettingsError: Two people have the label; the message has no names, because Dagster stores errors.
        """
        found = [
            index
            for index, each in enumerate(self.people)
            if any(is_same_name(label, known) for known in each.labels)
            and any(matches_pattern(session, glob) for glob in each.sessions)
        ]
        if len(found) > 1:
            raise SettingsError(
                f"corpus.speakers: people.{found[0]} and people.{found[1]} (counted from 0) share a label in session "
                f"{session}; limit one of them with sessions"
            )
        return self.people[found[0]] if found else None


EnrolledSpeakers = Mapping[tuple[str, str], EnrolledPerson]
"""(session, label) → the enrolled person."""


def find_enrolled_speakers(labels: Iterable[tuple[str, str]], settings: Settings) -> EnrolledSpeakers:
    """Return the enrolled person of each session and label that has one."""
    speaker_map = load_speaker_map(settings.corpus.speakers)
    contributors: dict[str, EnrolledPerson] = {}
    found: dict[tuple[str, str], EnrolledPerson] = {}
    for session, label in labels:
        if (person := speaker_map.find_person(session, label)) is not None:
            found[session, label] = person
        elif is_upload_session(session) and not is_local_speaker_label(session, label):
            if label not in contributors:
                contributors[label] = EnrolledPerson(name=canonical_name(label), role="student", labels=(label,))
            found[session, label] = contributors[label]
    return found


def find_sessions_by_student(speakers: EnrolledSpeakers) -> dict[str, set[str]]:
    """Return name → sessions of all students."""
    found: dict[str, set[str]] = defaultdict(set)
    for (session, _), person in speakers.items():
        if person.role == "student":
            found[person.name].add(session)
    return found


def load_speaker_map(path: Path | None) -> SpeakerMap:
    """Read a speaker map; return an empty one for None.

    Raises:
        SettingsError: The file cannot be read, a key is invalid, or a name occurs twice.
    """
    if path is None:
        return SpeakerMap()
    try:
        found = SpeakerMap.model_validate(read_mapping(path, "speaker map", private=True))
    except ValidationError as error:
        raise SettingsError(format_validation_errors(error, SpeakerMap, f"speaker map {path}", private=True)) from None
    first: dict[str, int] = {}
    for index, each in enumerate(found.people):
        if (earlier := first.setdefault(canonical_name(each.name), index)) < index:
            lines = find_entry_lines(path.read_text("utf-8-sig"), "people")
            raise SettingsError(
                f"speaker map {path}: people.{earlier} and people.{index} (counted from 0; lines {lines[earlier]} and "
                f"{lines[index]}) have the same name, since capitals, blanks and the way an accent is stored do not "
                "count; give all their labels in one entry"
            )
    return found


def group_sessions(
    hours: Mapping[str, float],
    sessions_by_person: Mapping[str, Iterable[str]],
    largest_hours: float,
    spellings: Sequence[Sequence[str]] = (),
) -> dict[str, str]:
    """Return session → its group, named by its first session; sessions that share a person are one group.

    `spellings` lists the sessions whose names are spellings of one name; these are always one group. While a group
    exceeds `largest_hours`, the person with the most sessions in such groups stops connecting sessions.
    """
    connecting = {name: sorted(sessions) for name, sessions in sessions_by_person.items()}
    order = sorted(connecting, key=lambda name: (len(connecting[name]), name))
    while True:
        groups = _join_sessions(hours, [*spellings, *(connecting[name] for name in order)])
        sizes: dict[str, float] = defaultdict(float)
        for session, group in groups.items():
            sizes[group] += hours[session]
        too_large = {group for group, size in sizes.items() if size > largest_hours}
        joining = [name for name in order if len(connecting[name]) > 1 and groups[connecting[name][0]] in too_large]
        if not joining:
            return groups
        order.remove(joining[-1])


def _join_sessions(sessions: Iterable[str], together: Iterable[Sequence[str]]) -> dict[str, str]:
    parents = {session: session for session in sessions}

    def root(session: str) -> str:
        while parents[session] != session:
            parents[session] = parents[parents[session]]
            session = parents[session]
        return session

    for each in together:
        for other in each[1:]:
            one, two = sorted((root(each[0]), root(other)))
            parents[two] = one
    return {session: root(session) for session in parents}
