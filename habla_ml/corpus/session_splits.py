"""The split of every session: sessions that belong together form a group, and new groups are assigned by hours.

A group is a session, or all sessions of an enrolled student (`corpus.speakers`). Sessions whose names are spellings of
one name (`habla_ml.names`) are one group, since a table's session has the name of its speaker.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from habla_ml.corpus.snapshot import Split
from habla_ml.corpus.speakers import EnrolledSpeakers, find_sessions_by_student, group_sessions
from habla_ml.corpus.split_assignment import assign_splits, choose_sealed_groups
from habla_ml.corpus.split_ledger import SplitLedger
from habla_ml.names import canonical_name
from habla_ml.settings import Settings

MAX_GROUP_SHARE: Final = 0.5
"""Share of the hours above which enrolled people no longer keep their sessions in one group."""

# A person found in several splits belongs to the one that training must not use.
SPLIT_PRIORITY: Final[tuple[Split, ...]] = ("sealed", "test", "validation", "train")


def assign_sessions(
    hours: Mapping[str, float],
    eligible: Mapping[str, float],
    speakers: EnrolledSpeakers,
    before: SplitLedger,
    settings: Settings,
) -> dict[str, Split]:
    """Return every session, known or new → its split.

    `hours` has the sessions with speech, and `eligible` their hours that may be held out.
    A student keeps their sessions together only if all of these sessions, and the ledger's entry for the student,
    agree on at most one split. Otherwise each new session is assigned separately.
    """
    known, people = before.groups, find_splits_by_name(before.people)
    connecting = {}
    for name, sessions in find_sessions_by_student(speakers).items():
        splits = {known[each] for each in sessions if each in known} | {people.get(canonical_name(name), "")} - {""}
        if len(splits) < 2:
            connecting[name] = sessions
    spellings = _find_spellings(hours, known)
    largest_hours = MAX_GROUP_SHARE * sum(hours.values())
    connected = group_sessions(hours, connecting, largest_hours, [spelled for spelled, _ in spellings])
    decided = _find_decided_splits(connected, connecting, known, people)
    for spelled, split in spellings:
        if split is not None:
            group = connected[spelled[0]]
            decided[group] = decided.get(group, frozenset()) | {split}
    group_of = {session: group if len(decided.get(group, ())) < 2 else session for session, group in connected.items()}
    ledger = {session: split for session, split in known.items() if session not in hours}
    for session, group in group_of.items():
        if session in known:
            ledger[group] = known[session]
        elif len(decided.get(group, ())) == 1:
            ledger[group] = next(iter(decided[group]))
    assigned = assign_splits(_sum_by_group(hours, group_of), ledger, settings.splits, _sum_by_group(eligible, group_of))
    sealed = choose_sealed_groups(assigned, ledger, Counter(group_of.values()), settings.splits)
    assigned |= dict.fromkeys(sealed, "sealed")
    return {**known, **{session: known.get(session, assigned[group]) for session, group in group_of.items()}}


def _find_spellings(hours: Mapping[str, float], known: Mapping[str, Split]) -> list[tuple[list[str], Split | None]]:
    """Return the sessions of each name with several spellings, and the split that was decided for one of them.

    A name whose spellings are in several splits already, from before they counted as one, is left out.
    """
    first: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    for session in sorted(hours.keys() | known.keys()):
        canonical = canonical_name(session)
        # Most names are canonical; then no second text is kept, and no list.
        name = session if canonical == session else canonical
        if (other := first.setdefault(name, session)) is not session:
            by_name.setdefault(name, [other]).append(session)
    found = []
    for sessions in by_name.values():
        splits = {known[each] for each in sessions if each in known}
        present = [each for each in sessions if each in hours]
        if present and len(splits) < 2:
            found.append((present, next(iter(splits), None)))
    return found


def find_splits_by_name(people: Mapping[str, Split]) -> dict[str, Split]:
    """Return canonical name → split; of several spellings the split that training must not use."""
    found: dict[str, Split] = {}
    for name, split in people.items():
        key = canonical_name(name)
        found[key] = min(split, found.get(key, split), key=SPLIT_PRIORITY.index)
    return found


def _find_decided_splits(
    connected: Mapping[str, str],
    connecting: Mapping[str, Iterable[str]],
    known: Mapping[str, Split],
    people: Mapping[str, Split],
) -> dict[str, frozenset[Split]]:
    """Return group → the splits that the ledger decided for its sessions or students, for groups with some.

    `connected` is session → its group, `connecting` student → their sessions, `known` session → its split, and `people`
    canonical name of a student → their split.
    """
    decided: dict[str, frozenset[Split]] = {}
    shared: dict[frozenset[Split], frozenset[Split]] = {}

    def decide(group: str, split: Split) -> None:
        splits = decided.get(group, frozenset()) | {split}
        decided[group] = shared.setdefault(splits, splits)  # one object for all groups with these splits

    for session, group in connected.items():
        if session in known:
            decide(group, known[session])
    for name, sessions in connecting.items():
        if (split := people.get(canonical_name(name))) is not None:
            for session in sessions:
                decide(connected[session], split)
    return decided


def _sum_by_group(hours: Mapping[str, float], group_of: Mapping[str, str]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for session, each in hours.items():
        sums[group_of[session]] = round(sums[group_of[session]] + each, 9)
    return sums


def find_splits_by_person(speakers: EnrolledSpeakers, groups: Mapping[str, Split]) -> dict[str, set[Split]]:
    """Return enrolled person → the splits of the sessions with their speech."""
    found: dict[str, set[Split]] = defaultdict(set)
    for (session, _), person in speakers.items():
        found[person.name].add(groups[session])
    return found


def find_new_people(
    speakers: EnrolledSpeakers, splits: Mapping[str, Collection[Split]], known: Mapping[str, Split]
) -> dict[str, Split]:
    """Return enrolled student → their split, for those whom `known`, the people of the ledger, lacks.

    `splits` is enrolled person → the splits of their sessions.
    """
    names = find_splits_by_name(known)
    return {
        name: min(splits[name], key=SPLIT_PRIORITY.index)
        for name in find_sessions_by_student(speakers)
        if canonical_name(name) not in names
    }
