"""What runs together. All jobs run their steps in one process: see `RUN_TAGS`.

The default multiprocess executor leaves a training process orphaned when its run worker is killed, and that
orphan later writes into a dead run. In-process steps plus children that die with their parent cannot.
"""

from __future__ import annotations

import dagster as dg

RUN_TAGS = {"dagster/max_runtime": str(48 * 3600)}
INGEST, CORRECT, RETRAIN, RESCORE = "ingest_day", "update_text", "train_and_release", "rescore"
TRAIN_REPLICATE = "train_repeat"
REVIEW = "choose_for_review"
WATCH = "watch_release"

MODEL_ASSETS = (
    "fine_tuned_checkpoint",
    "ctranslate2_model",
    "wer_report",
    "coreml_zip",
    "cdn_release",
)


def build_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """The jobs that sensors, schedules, people and the demo launch."""
    return [
        dg.define_asset_job(
            INGEST,
            selection=["raw_recordings", "annotated_corpus"],
            description="One day: copy finished sessions into the lake, then write the day's text.",
            run_tags=RUN_TAGS,
        ),
        dg.define_asset_job(
            CORRECT,
            selection=["annotated_corpus"],
            description="One day's text again: new corrections, or changed conventions. No audio is read.",
            run_tags=RUN_TAGS,
        ),
        dg.define_asset_job(
            RETRAIN,
            selection=["splits", *MODEL_ASSETS],
            description="A new snapshot, then one model version from training to release.",
            run_tags=RUN_TAGS,
        ),
        dg.define_asset_job(
            RESCORE,
            selection=["splits", "wer_report"],
            description="A new snapshot, then one model version scored on it; known hypotheses are not decoded again.",
            run_tags=RUN_TAGS,
        ),
        dg.define_asset_job(
            TRAIN_REPLICATE,
            selection=["fine_tuned_checkpoint", "ctranslate2_model", "wer_report"],
            description="A version that repeats another with its own seed: trained and scored, never released.",
            run_tags=RUN_TAGS,
        ),
        dg.define_asset_job(
            REVIEW,
            selection=["review_queue", "corpus_report"],
            description="The week's segments for a person to look at, and the report of the corpus as it stands.",
            run_tags=RUN_TAGS,
        ),
        dg.define_asset_job(
            WATCH,
            selection=["released_model_quality"],
            description="The released version against what people corrected since, and an alert where it drifted.",
            run_tags=RUN_TAGS,
        ),
    ]
