"""Lines about Habla's folder, the disk and the released model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from habla_ml.evaluation.comparison.records import ModelScore
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.lake import catalogue
from habla_ml.model_version import version_number
from habla_ml.monitoring.alarms import active_alarms
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.released_model import load_monitored_release
from habla_ml.monitoring.status.inputs import StatusInputs, format_count
from habla_ml.monitoring.stopped_loop import is_near_deletion, measure_free_gb, name_session
from habla_ml.recordings.unsaved_sessions import UnsavedSession, count_folders
from habla_ml.release.channel import read_channel
from habla_ml.release.keys import read_newest_keys

_SHORTEST_SIGNATURE: Final = timedelta(days=6)
"""Left until it expires; a schedule renews it each week."""
_SHORTEST_KEYS: Final = timedelta(days=60)
"""Left until the document of keys expires; a person fetches a root key for it."""


def describe_lake(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield whether the lake can be read, and its days."""
    days = list(catalogue.RECORDINGS.keys(inputs.lake))
    held = f"recordings of {format_count(len(days), 'day')}, {days[0]} to {days[-1]}" if days else "no recordings yet"
    yield Finding("lake", "ok", held, "", {"days": len(days)})


def describe_deletion(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield how far the oldest session that is not in the lake is from being deleted by Habla."""
    settings = inputs.settings
    counted = count_folders(settings)
    values: dict[str, int | str | None] = {"folders": counted.folders, "limit": counted.limit}
    if not counted.limit:
        yield Finding("Habla's folder", "ok", f"{counted.folders} folders; recordings.max_recordings is 0", "", values)
        return
    kept = f"{counted.folders} folders, Habla deletes the oldest beyond {counted.limit}"
    survey = inputs.survey
    nearest = survey.nearest
    if nearest is None:
        yield Finding("Habla's folder", "ok", f"{kept}; nothing is lost", "", {**values, "folders_left": None})
        return
    is_near = is_near_deletion(nearest, settings)
    step = "copy the recordings to a safe place, then fix what failed"
    if nearest.skipped:
        step = "copy it to a safe place; it is among the skipped sessions below"
    yield Finding(
        "Habla's folder",
        "wrong" if is_near else "ok",
        f"{kept}; {format_count(len(survey.unsaved), 'session')} not in the lake, {_describe_nearest(nearest)}",
        step if is_near else "",
        {**values, "folders_left": nearest.folders_left},
    )


def _describe_nearest(nearest: UnsavedSession) -> str:
    if not nearest.folders_left:
        return f"and the next session that ends deletes {name_session(nearest)}"
    return f"and {name_session(nearest)} is deleted after {format_count(nearest.folders_left, 'new session')}"


def describe_disk(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the free space of the work folder."""
    folder, least_gb = inputs.settings.work_folder, inputs.settings.monitoring.loop.least_free_gb
    free_gb = measure_free_gb(folder)
    is_low = free_gb < least_gb
    step = f"free some space: less than {least_gb:g} GB stops ingest and training" if is_low else ""
    found = f"{free_gb:.1f} GB free for {folder}"
    yield Finding("disk", "wrong" if is_low else "ok", found, step, {"free_gb": round(free_gb, 2)})


def describe_release(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the released version with its word error rate and its alarms."""
    channel = inputs.settings.release.channel
    found_channel = read_channel(inputs.open_release_store(), channel)
    current = found_channel.current
    if current is None:
        yield Finding("released model", "ok", f"none yet on the channel {channel}", "", {"version": None})
        return
    version = current.model_version
    models = read_stored_comparison(inputs.lake, version).models
    candidate, base = models[-1], models[0]
    record = load_monitored_release(inputs.lake, version)
    alarms = active_alarms(record.alarms, record) if record else ()
    found = (
        f"{version} as {current.version} on {channel} since {inputs.format_time(current.released_at)}; WER "
        f"{_format_wer(candidate)} (base {_format_wer(base)})"
    )
    values = {"version": version, "release": current.version, "wer": candidate.wer.value, "base_wer": base.wer.value}
    if alarms:
        step = "open `released_model_quality`"
        if found_channel.previous_release() is not None:
            step += f"; `{inputs.settings.command('rollback')}` goes back"
        yield Finding("released model", "wrong", f"{found}; more errors since the week of {alarms[0]}", step, values)
    else:
        yield Finding("released model", "ok", found, "", values)


def describe_newest_version(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the newest evaluated version if it is not the released one, with the rule's verdict."""
    newest = max(
        (each for each in catalogue.REPORT.keys(inputs.lake) if version_number(each)), key=version_number, default=None
    )
    pointer = None if newest is None else inputs.lake.read_pointer(catalogue.REPORT.name(newest))
    channel = inputs.settings.release.channel
    current = read_channel(inputs.open_release_store(), channel).current
    if pointer is None or (current is not None and current.model_version == newest):
        return
    verdict = str(pointer.value["verdict"])
    yield Finding(
        "newest version",
        "note",
        f"{newest} is not on the channel {channel}; the rule's verdict: {verdict.replace('_', ' ')}",
        f"see the report of {newest} in `wer_report`",
        {"version": newest, "verdict": verdict},
    )


def describe_signature(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield until when apps trust the released state, and the keys that signed it."""
    store, channel, command = inputs.open_release_store(), inputs.settings.release.channel, inputs.settings.command
    current, newest = read_channel(store, channel).current, read_newest_keys(store)
    if current is None:
        return
    if current.signed is None or newest is None:
        step = f"`{command('keys', 'create')}`, then `{command('renew', '--unverified')}`: apps install only what is signed"
        yield Finding("signature", "wrong", f"the channel {channel} is not signed", step, {"until": None})
        return
    until = min(current.expires_at, newest.keys.expires)
    found = f"apps trust the channel {channel} until {inputs.settings.format_day(until)}"
    step = ""
    if current.expires_at < inputs.now + _SHORTEST_SIGNATURE:
        step = f"`{command('renew')}`, and see why `weekly_signatures` did not run"
    elif newest.keys.expires < inputs.now + _SHORTEST_KEYS:
        step = f"put a root key into {inputs.settings.keys_folder} and run `{command('keys', 'renew')}`"
    yield Finding("signature", "wrong" if step else "ok", found, step, {"until": until.isoformat()})


def _format_wer(model: ModelScore) -> str:
    value, interval = model.wer.value, model.wer.interval
    if value is None:
        return "unknown"
    return f"{value:.1%}" if interval is None else f"{value:.1%} [{interval.low:.1%}–{interval.high:.1%}]"
