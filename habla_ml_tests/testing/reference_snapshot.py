"""The rows of a snapshot by plain Python, one step after the other, for small corpora without near-duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any

Row = dict[str, Any]


def find_copies(rows: Iterable[Row], decided: Mapping[str, str]) -> dict[str, str]:
    """Return copied session → the session that it is counted as; `rows` are all recorded segments."""
    sessions_of, sounds_of = defaultdict(set), defaultdict(set)
    for row in rows:
        sessions_of[row["audio_sha256"]].add(row["session_id"])
        sounds_of[row["session_id"]].add(row["audio_sha256"])
    shared = Counter(pair for sessions in sessions_of.values() for pair in pairwise(sorted(sessions)))
    groups = [{each} for each in sounds_of]
    for (one, other), count in shared.items():
        if count >= 0.5 * min(len(sounds_of[one]), len(sounds_of[other])):
            joined = set().union(*(each for each in groups if each & {one, other}))
            groups = [each for each in groups if not each & joined] + [joined]
    found = {}
    for group in map(sorted, groups):
        main = next((each for each in group if each in decided), group[0])
        found |= {each: main for each in group if each != main and decided.get(each) in (None, decided.get(main))}
    return found


def select_rows(
    rows: Iterable[Row], splits: Mapping[str, str], copies: Mapping[str, str], chosen: Collection[str]
) -> list[Row]:
    """Return the usable segments, each sound of a session once, without those that cannot be held out."""
    usable = sorted(
        (row for row in rows if row["problem"] is None),
        key=lambda row: [row[key] for key in ("day", "session_id", "number", "file_name", "segment_id")],
    )
    chosen_sounds = {row["audio_sha256"] for row in usable if row["segment_id"] in chosen}
    named = [{**row, "session_id": copies.get(row["session_id"], row["session_id"])} for row in usable]
    once = _keep_newest(named, lambda row: (row["audio_sha256"], row["session_id"]))
    with_split = [{**row, "split": splits[row["session_id"]]} for row in once]
    return [row for row in with_split if row["split"] == "train" or row["audio_sha256"] not in chosen_sounds]


def pin_sounds(selected: Iterable[Row], earlier: Iterable[Row], pinned: Mapping[str, str]) -> dict[str, str]:
    """Return sound → the only split that may have it, for those of two splits and those that are gone."""
    selected = list(selected)
    present = {row["audio_sha256"] for row in selected}
    uses = defaultdict(list)
    for row in (*earlier, *selected):
        uses[row["audio_sha256"]].append(row["split"])
    new = {sound: found[0] for sound, found in uses.items() if len(set(found)) > 1 or sound not in present}
    return {**new, **pinned}


def make_rows(selected: Iterable[Row], pinned: Mapping[str, str]) -> list[Row]:
    """Return the rows of the snapshot."""
    allowed = [row for row in selected if pinned.get(row["audio_sha256"], row["split"]) == row["split"]]
    rows = _keep_newest(allowed, lambda row: (row["audio_sha256"],))
    trained = {_plain(row["sentence"]) for row in rows if row["split"] == "train"}
    seen = [None if row["split"] == "train" else _plain(row["sentence"]) in trained for row in rows]
    return [{**row, "is_seen_sentence": is_seen} for row, is_seen in zip(rows, seen, strict=True)]


def _keep_newest(rows: Iterable[Row], key: Callable[[Row], Any]) -> list[Row]:
    copies = defaultdict(list)
    for row in rows:
        copies[key(row)].append(row)
    newest = [max(group, key=lambda row: (row["annotated_at"], row["segment_id"])) for group in copies.values()]
    return [
        {**group[0], **{name: new[name] for name in ("sentence", "annotated_at")}}
        for group, new in zip(copies.values(), newest, strict=True)
    ]


def _plain(sentence: str) -> str:
    return " ".join("".join(each if each.isalnum() else " " for each in sentence.lower()).split())
