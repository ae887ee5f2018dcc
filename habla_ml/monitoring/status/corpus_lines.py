"""Lines about recordings, text, review and the next model version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pyarrow.compute as pc

from habla_ml.annotation.event_log import DayEventLog, load_events, read_valid_events
from habla_ml.annotation.review_queue import ReviewQueue, load_queue
from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import SOURCES
from habla_ml.corpus.build import CorpusDay, load_corpus_day
from habla_ml.corpus.hub_dataset.pushes import list_hub_datasets
from habla_ml.erasure.hub_datasets import has_erased_voice
from habla_ml.lake import Lake, catalogue
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.inputs import StatusInputs, format_count, format_duration
from habla_ml.monitoring.stopped_loop import find_longest_waiting
from habla_ml.recordings.days import PublishedDay, load_day
from habla_ml.training.growth import measure_growth


def describe_growth(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the hours until the next version."""
    measured, bound = measure_growth(inputs.lake), inputs.settings.automation.growth_hours
    hours, growth, left = measured.corpus_hours, max(0.0, measured.hours), measured.find_hours_left(bound)
    since = f"since {measured.since}" if measured.since else "for the first version"
    is_due = left == 0
    found = f"{growth:.1f} of {bound:g} h of corrected speech {since}; the corpus has {hours:.1f} h"
    yield Finding(
        "next version",
        "ok",
        f"{found}: a training is due" if is_due else found,
        "" if is_due else f"correct {format_duration(3600 * left)} more of speech, or wait for the quarter",
        {
            "hours": round(growth, 4),
            "hours_needed": bound,
            "hours_left": round(left, 4),
            "corpus_hours": round(hours, 4),
        },
    )


def describe_recordings(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the sessions that wait for their ingest, and those that are being recorded."""
    survey, bound = inputs.survey, inputs.settings.monitoring.loop.most_hours_waiting
    longest = find_longest_waiting(survey, inputs.now)
    values = {"waiting": len(survey.waiting), "live": survey.live}
    live = f"; {survey.live} being recorded" if survey.live else ""
    if longest is None:
        yield Finding("recordings", "ok", f"no finished session waits for its ingest{live}", "", values)
        return
    hours = longest.hours_waited(inputs.now)
    found = f"{format_count(len(survey.waiting), 'finished session')} not in the lake yet{live}; the oldest waits {_hours(hours)}"
    step = "look at the daemon and the failed runs below" if hours > bound else ""
    yield Finding("recordings", "wrong" if hours > bound else "ok", found, step, {**values, "hours": round(hours, 2)})


def describe_text(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the corrections that are not read, and the days whose text is older than its recordings or corrections."""
    context = SourceContext(inputs.lake, inputs.settings, inputs.now)
    found_days = [day for source in SOURCES if not source.is_server for day in source.find_changes(context).days]
    unread = len({each.day for each in found_days if each.unread})
    logs = catalogue.ANNOTATIONS.read(inputs.lake)
    recordings, texts = catalogue.RECORDINGS.read(inputs.lake), catalogue.CORPUS.read(inputs.lake)
    days = list(catalogue.RECORDINGS.keys(inputs.lake))
    outdated = [
        day
        for day in days
        if _is_outdated(load_day(recordings, day), load_events(logs, day), load_corpus_day(texts, day))
    ]
    found = "no corrections to read" if not unread else f"{format_count(unread, 'day')} with corrections to read"
    yield Finding("corrections", "ok", found, "", {"days": unread})
    if outdated:
        listed = ", ".join(outdated[:3]) + (" …" if len(outdated) > 3 else "")
        found = f"{format_count(len(outdated), 'day')} to build again: {listed}"
        yield Finding(
            "text of the corpus", "ok", found, "the sensor `new_corrections` requests them", {"days": len(outdated)}
        )
    else:
        yield Finding("text of the corpus", "ok", f"{format_count(len(days), 'day')}, all up to date", "", {"days": 0})


def describe_consent(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the sessions whose segments wait for a consent."""
    if inputs.settings.consent.registry is None:
        return
    pointers = catalogue.RECORDINGS.read(inputs.lake)
    days = [load_day(pointers, day) for day in catalogue.RECORDINGS.keys(inputs.lake)]
    sessions = sum(len(day.withheld) for day in days if day is not None)
    if sessions:
        found = f"{format_count(sessions, 'session')} with speech that waits for a consent"
        yield Finding(
            "consent", "note", found, "enter consents in the register (docs/consent.md)", {"sessions": sessions}
        )
    else:
        yield Finding("consent", "ok", "no speech waits for a consent", "", {"sessions": 0})


def describe_hub_datasets(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the snapshots on the Hub, and whether a withdrawn voice must still be erased there."""
    for dataset in list_hub_datasets(inputs.lake):
        complete = sum(each.commit is not None for each in dataset.pushes)
        values: dict[str, int | str | float | None] = {"snapshots": complete, "withdrawn": len(dataset.withdrawn)}
        if has_erased_voice(inputs.lake, dataset):
            found = f"{dataset.repository} can still have a voice whose consent was withdrawn"
            step = f"run `{inputs.settings.command('erase', '--finish')}`, which says what hinders it"
            yield Finding("dataset on the Hub", "wrong", found, step, values)
        else:
            found = f"{dataset.repository}, {format_count(complete, 'snapshot')}"
            yield Finding("dataset on the Hub", "ok", found, "", values)


def describe_review(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield how much of the review queue is left."""
    settings, queue = inputs.settings, load_queue(inputs.lake)
    if queue is None:
        step = f"run `{settings.command('review', '--choose')}`, or wait for its schedule"
        yield Finding("review queue", "note", "none yet", step)
        return
    done = _list_annotated_since(inputs.lake, queue)
    left = [each for each in queue.items if each.segment_id not in done]
    seconds = sum(each.duration_s for each in left)
    age = inputs.now - queue.made_at
    is_old = age > timedelta(days=settings.monitoring.loop.review_queue_days)
    amount = f"{len(left)} of {len(queue.items)} segments left ({format_duration(seconds)})"
    found = f"{amount}, made {inputs.format_age(queue.made_at)} ago"
    step = f"`{settings.command('review')}` lists them" if left else ""
    if is_old:
        step = "launch the job `choose_for_review`, or see why its schedule failed"
    values = {"left": len(left), "segments": len(queue.items), "age_days": round(age / timedelta(days=1), 2)}
    yield Finding("review queue", "wrong" if is_old else "ok", found, step, values)


def _is_outdated(recordings: PublishedDay | None, events: DayEventLog | None, text: CorpusDay | None) -> bool:
    if recordings is None:
        return False
    annotations = events.parquet if events else ""
    return text is None or (text.annotations, text.metadata) != (annotations, recordings.metadata)


def _list_annotated_since(lake: Lake, queue: ReviewQueue) -> set[str]:
    """Return the segments of the queue that a person has annotated since it was made."""
    done: set[str] = set()
    for day in sorted({each.day for each in queue.items}):
        if (log := load_events(lake, day)) is not None:
            events = read_valid_events(lake, log.parquet, ["segment_id", "created_at"])
            done.update(events.filter(pc.greater(events["created_at"], queue.made_at))["segment_id"].to_pylist())
    return done


def _hours(hours: float) -> str:
    return format_duration(3600 * hours)
