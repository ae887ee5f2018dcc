"""Lines about inputs that are not used: skipped sessions, and files that the days set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from habla_ml.annotation.sources.tables.table_import import load_last_import
from habla_ml.lake import catalogue
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.inputs import StatusInputs, format_count
from habla_ml.recordings.days import load_day, read_skipped_inputs
from habla_ml.recordings.sessions import Skipped
from habla_ml.recordings.skipped_sessions import find_skipped_sessions
from habla_ml.settings import Settings

_MOST_SESSIONS_SHOWN: Final = 10
_MOST_DAYS_SHOWN: Final = 5


def describe_skipped_sessions(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield a line for each session that is not ingested, with its reason and what to do."""
    settings = inputs.settings
    yield from list_skipped_sessions(find_skipped_sessions(settings.recordings.folder, settings, inputs.now), settings)


def list_skipped_sessions(skipped: list[Skipped], settings: Settings) -> Iterator[Finding]:
    """Yield a line for each of the first skipped entries of Habla's folder, or one line that there is none."""
    if not skipped:
        yield Finding("skipped sessions", "ok", "none", "", {"sessions": 0})
    for each in skipped[:_MOST_SESSIONS_SHOWN]:
        reason, _, step = each.reason.partition("; ")
        yield Finding("skipped session", "note", f"{each.session} {reason}", step, {"session": each.session})
    if len(skipped) > _MOST_SESSIONS_SHOWN:
        rest = len(skipped) - _MOST_SESSIONS_SHOWN
        found = f"{rest} more in {settings.recordings.folder}"
        yield Finding("skipped sessions", "note", found, "", {"sessions": len(skipped)})


def describe_tables(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield a line for each table of transcripts whose last import left rows out."""
    for table in inputs.settings.annotation.tables:
        last = load_last_import(table, inputs.lake) if table.exists() else None
        if last is None or not last.skipped_inputs:
            continue
        used = last.matched + last.clips
        reason = Counter(each.reason for each in last.skipped_inputs).most_common(1)[0][0]
        yield Finding(
            "tables",
            "note" if used else "wrong",
            f"{last.name}: {format_count(len(last.skipped_inputs), 'remark')}, for example: {reason}",
            "correct the table and save it; `annotated_corpus` lists all under `skipped table rows`",
            {"used": used, "remarks": len(last.skipped_inputs)},
        )


def describe_skipped_files(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield how many inputs inside the ingested days were set aside, by day, newest first."""
    pointers = catalogue.RECORDINGS.read(inputs.lake)
    days = [load_day(pointers, day) for day in sorted(catalogue.RECORDINGS.keys(inputs.lake), reverse=True)]
    lists = {each.day: each.set_aside for each in days if each is not None}
    # Most days have the same empty list.
    read = {object_id: read_skipped_inputs(inputs.lake, object_id) for object_id in set(lists.values())}
    skipped = {day: read[object_id] for day, object_id in lists.items()}
    affected = {day: found for day, found in skipped.items() if found}
    total = sum(map(len, affected.values()))
    if not total:
        yield Finding("files set aside", "ok", "none", "", {"files": 0})
        return
    listed = ", ".join(f"{day} ({len(found)})" for day, found in list(affected.items())[:_MOST_DAYS_SHOWN])
    more = f" and {len(affected) - _MOST_DAYS_SHOWN} more days" if len(affected) > _MOST_DAYS_SHOWN else ""
    reason = Counter(each.reason for found in affected.values() for each in found).most_common(1)[0][0]
    yield Finding(
        "files set aside",
        "note",
        f"{format_count(total, 'file')}: {listed}{more}; for example one {reason}",
        "the table `skipped inputs` of `raw_recordings` lists them",
        {"files": total, "days": len(affected)},
    )
