"""The speaker map: which labels mean the same person everywhere, and whether they teach or learn.

Habla's labels are local to a session. A person whom the teacher has enrolled keeps all their sessions in one split,
unless that would fuse the corpus. A teacher never holds sessions together: who speaks in every lesson would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from habla_ml.errors import SettingsError
from habla_ml.settings.yaml_files import format_validation_errors, read_mapping

SpeakerRole = Literal["teacher", "student"]


class EnrolledPerson(BaseModel):
    """Somebody enrolled: the labels that mean them, in the sessions whose names match one of the globs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    role: SpeakerRole
    labels: tuple[str, ...] = Field(min_length=1)
    sessions: tuple[str, ...] = ("*",)


class SpeakerMap(BaseModel):
    """Everybody who is enrolled; the file's one key is `people`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: tuple[EnrolledPerson, ...] = ()

    def find_person(self, session: str, label: str) -> EnrolledPerson | None:
        """Who a label means in a session, or None where nobody is enrolled for it.

        Raises:
            SettingsError: two people claim the label there; it names no one, since Dagster keeps errors.
        """
        found = [
            place
            for place, each in enumerate(self.people)
            if label in each.labels and any(fnmatchcase(session, glob) for glob in each.sessions)
        ]
        if len(found) > 1:
            raise SettingsError(
                f"corpus.speakers: people.{found[0]} and people.{found[1]} (counted from 0) have a label in common in "
                f"session {session}; limit one of them with sessions"
            )
        return self.people[found[0]] if found else None


@dataclass(frozen=True)
class EnrolledSpeakers:
    """Who is heard where, as far as the map knows."""

    people: Mapping[tuple[str, str], EnrolledPerson]
    """(session, label) → the person enrolled for it."""

    def sessions_by_person(self, role: SpeakerRole) -> dict[str, set[str]]:
        """Name → the sessions in which they speak, for everybody of a role."""
        found: dict[str, set[str]] = {}
        for (session, _), person in self.people.items():
            if person.role == role:
                found.setdefault(person.name, set()).add(session)
        return found


def load_speaker_map(path: Path | None) -> SpeakerMap:
    """Read a speaker map; an empty one for None.

    Raises:
        SettingsError: the file cannot be read, a key is wrong, or a name stands there twice.
    """
    if path is None:
        return SpeakerMap()
    try:
        found = SpeakerMap.model_validate(read_mapping(path, "speaker map", private=True))
    except ValidationError as error:
        raise SettingsError(
            format_validation_errors(error, SpeakerMap, f"speaker map {path}", private=True)
        ) from None
    names = [each.name for each in found.people]
    twice = [place for place, name in enumerate(names) if names.index(name) < place]
    if twice:
        raise SettingsError(
            f"speaker map {path}: people.{names.index(names[twice[0]])} and people.{twice[0]} (counted from 0) have "
            "the same name; give all their labels in one entry"
        )
    return found


def find_enrolled_speakers(speakers: SpeakerMap, labels: Iterable[tuple[str, str]]) -> EnrolledSpeakers:
    """Who speaks under each (session, label) pair."""
    found = ((pair, speakers.find_person(*pair)) for pair in labels)
    return EnrolledSpeakers({pair: person for pair, person in found if person is not None})


def group_sessions(
    hours: Mapping[str, float], sessions_by_person: Mapping[str, Iterable[str]], largest_hours: float
) -> dict[str, str]:
    """Session → its group: sessions that share a person are one, and the group is named by its first session.

    Where a group would hold more than `largest_hours`, people are let go, the one in most sessions first, until none
    does or nobody connects sessions any more.
    """
    connecting = {name: sorted(sessions) for name, sessions in sessions_by_person.items()}
    order = sorted(connecting, key=lambda name: (len(connecting[name]), name))
    while True:
        groups = _join_sessions(hours, [connecting[name] for name in order])
        sizes: dict[str, float] = {}
        for session, group in groups.items():
            sizes[group] = sizes.get(group, 0.0) + hours[session]
        fused = {group for group, size in sizes.items() if size > largest_hours}
        glue = [n for n in order if len(connecting[n]) > 1 and groups[connecting[n][0]] in fused]
        if not glue:
            return groups
        order.remove(glue[-1])


def _join_sessions(sessions: Iterable[str], together: Iterable[list[str]]) -> dict[str, str]:
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
