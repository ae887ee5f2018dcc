"""The jobs. All of them run their steps in one process.

The default multiprocess executor orphans a training process when its run worker is killed, and the orphan later
writes into a dead run. In-process steps, with child processes that end with their parent, avoid this.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from habla_ml.defs.run_faults import record_fault
from habla_ml.export.registry import SERVED, list_asset_exporters
from habla_ml.settings import Settings

INGEST, CORRECT, RETRAIN, RESCORE = "ingest_day", "update_text", "train_and_release", "rescore"
INGEST_UPLOADS = "ingest_uploads"
TRAIN_REPLICATE = "train_repeat"
NEW_VERSION = "new_version"
SWEEP = "sweep_recipe"
REVIEW = "choose_for_review"
WATCH = "watch_release"
CLEAN_UP = "clean_up"
RENEW_SIGNATURES = "renew_signatures"
ERASE = "erase_withdrawn"
REPORT_STATUS = "report_status"

_RECORDINGS = "raw_recordings"
SESSIONS_WAIT, SESSIONS_AT_RISK = "finished_sessions_are_ingested", "unsaved_sessions_are_far_from_deletion"
LOOP_CHECKS = (SESSIONS_WAIT, SESSIONS_AT_RISK)
"""Checks of `raw_recordings` that must run when no recording is ingested."""
_EXPORTS, _HUB_MODEL = "exports", "hub_model"
"""In a selection: the export formats that the settings name, and the repository of the Hub if they name one."""

DONE_BY = {CORRECT: (CORRECT, INGEST)}
"""Job → the jobs whose success does its work: an ingest builds the text of its day too. Else only the job itself."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

# The longest time a run may take, in seconds; a run that hangs longer is ended and its slot is free again.
_LONGEST_RUNS_S = {
    INGEST: 90 * _MINUTE,
    INGEST_UPLOADS: 90 * _MINUTE,
    CORRECT: 60 * _MINUTE,
    RETRAIN: 7 * _DAY,
    RESCORE: 12 * _HOUR,
    TRAIN_REPLICATE: 7 * _DAY,
    SWEEP: 14 * _DAY,
    REVIEW: 6 * _HOUR,
    WATCH: 6 * _HOUR,
    CLEAN_UP: 6 * _HOUR,
    RENEW_SIGNATURES: 30 * _MINUTE,
    ERASE: 12 * _HOUR,
    REPORT_STATUS: 30 * _MINUTE,
}
_JOBS = {
    INGEST: (
        ("raw_recordings", "annotated_corpus"),
        "One day: copy finished sessions into the lake, then build the day's text. A sensor launches it; "
        "launch it yourself after you have fixed what was skipped.",
    ),
    INGEST_UPLOADS: (
        ("uploaded_clips",),
        "One hour of received clips into the days of their recording; a sensor then builds the text of these days.",
    ),
    CORRECT: (
        ("annotated_corpus",),
        "One day's text again, after new corrections or changed conventions. No audio is read. Launch a backfill of it "
        "for all days after a change of the conventions.",
    ),
    RETRAIN: (
        ("splits", "fine_tuned_checkpoint", _EXPORTS, "wer_report", "cdn_release", _HUB_MODEL),
        "A new snapshot, then one model version from training to release. Begin with `new_version`, which adds the version.",
    ),
    RESCORE: (
        ("splits", "wer_report"),
        "A new snapshot, then the score of one model version on it; cached hypotheses are not decoded again. "
        "Launch it after more corrections, without a new training.",
    ),
    TRAIN_REPLICATE: (
        ("fine_tuned_checkpoint", SERVED.asset_name, "wer_report"),
        "A replicate of a version, with another seed or fewer sessions: trained and scored, never released. "
        "`habla-ml repeat` launches it.",
    ),
    SWEEP: (
        ("recipe_sweep",),
        "Trainings with other values of recipe keys, compared on the validation split. Takes many trainings; choose the "
        "search space in the launchpad.",
    ),
    REVIEW: (
        ("review_queue", "corpus_report"),
        "The segments to annotate this week, and the report of the corpus. Launch it when the queue is done.",
    ),
    CLEAN_UP: (
        ("storage_cleanup",),
        "Removes what no pointer and no running process needs. Launch it when the disk is full.",
    ),
    RENEW_SIGNATURES: (
        ("channel_signatures",),
        "Renews the signatures of the channels, so that apps go on trusting them.",
    ),
    ERASE: (("erased_contributors",), "Erases the contributors who withdrew their consent in the service."),
    REPORT_STATUS: (("loop_status",), "The state of the loop, and whether recordings wait or are about to be deleted."),
    WATCH: (("released_model_quality",), "The released version against the corrections since, with alerts on drift."),
}


def build_jobs(settings: Settings) -> list[dg.UnresolvedAssetJobDefinition]:
    """Return the jobs that sensors, schedules, people and the demo launch."""
    return [
        dg.define_asset_job(
            name,
            selection=_select(name, list_job_assets(name, settings)),
            description=description,
            run_tags=_build_run_tags(name),
            hooks={record_fault},
        )
        for name, (_, description) in _JOBS.items()
    ]


def list_job_assets(job: str, settings: Settings) -> tuple[str, ...]:
    """Return the names of a job's assets, in the order of its steps."""
    chosen = {
        _EXPORTS: [each.asset_name for each in list_asset_exporters(settings.export)],
        _HUB_MODEL: [_HUB_MODEL] if settings.release.hub.repository is not None else [],
    }
    return tuple(asset for name in _JOBS[job][0] for asset in chosen.get(name, [name]))


def _select(job: str, assets: Sequence[str]) -> dg.AssetSelection:
    """Return the assets of a job with their checks; only the status runs those of recordings that wait.

    They examine the whole folder, so they say nothing about the day of an ingest, and an import of many days would
    repeat them for each.
    """
    selection = dg.AssetSelection.assets(*assets)
    waiting = dg.AssetSelection.checks(*(dg.AssetCheckKey(dg.AssetKey(_RECORDINGS), each) for each in LOOP_CHECKS))
    return selection | waiting if job == REPORT_STATUS else selection - waiting


def _build_run_tags(job: str) -> dict[str, str]:
    return {"dagster/max_runtime": str(_LONGEST_RUNS_S[job])}
