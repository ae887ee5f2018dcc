"""Recordings, text, splits and the review queue: assets, checks, sensors and schedules."""

import dagster as dg

from habla_ml.defs.corpus.agreement import build_agreement_check
from habla_ml.defs.corpus.annotated_corpus import build_annotated_corpus
from habla_ml.defs.corpus.annotation_sensors import build_annotation_sensors
from habla_ml.defs.corpus.consent_check import build_consent_check
from habla_ml.defs.corpus.corpus_report import build_corpus_report
from habla_ml.defs.corpus.erased_contributors import build_erased_contributors, build_withdrawals_sensor
from habla_ml.defs.corpus.quality_checks import build_quality_checks
from habla_ml.defs.corpus.raw_recordings import build_raw_recordings, build_recordings_checks
from habla_ml.defs.corpus.review_queue import build_review_queue, build_review_schedule
from habla_ml.defs.corpus.sensors import build_recordings_sensor
from habla_ml.defs.corpus.splits import build_splits, build_splits_check
from habla_ml.defs.corpus.uploaded_clips import build_uploaded_clips, build_uploads_sensor
from habla_ml.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Return the definitions of the corpus."""
    return dg.Definitions(
        assets=[
            build_uploaded_clips(settings),
            build_raw_recordings(settings),
            build_annotated_corpus(settings),
            build_review_queue(settings),
            build_splits(settings),
            build_corpus_report(settings),
            build_erased_contributors(settings),
        ],
        asset_checks=[
            *build_recordings_checks(settings),
            build_splits_check(),
            *build_quality_checks(settings),
            build_agreement_check(settings),
            build_consent_check(settings),
        ],
        sensors=[
            build_recordings_sensor(settings),
            build_uploads_sensor(settings),
            build_withdrawals_sensor(settings),
            *build_annotation_sensors(settings),
        ],
        schedules=[build_review_schedule(settings)],
    )
