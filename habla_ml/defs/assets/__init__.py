"""The assets, in the order in which data goes through them; one file a stage."""

import dagster as dg

from habla_ml.defs.assets.checkpoint import build_fine_tuned_checkpoint
from habla_ml.defs.assets.corpus import build_annotated_corpus
from habla_ml.defs.assets.corpus_report import build_corpus_report
from habla_ml.defs.assets.engine_comparison import build_engine_comparison
from habla_ml.defs.assets.exports import build_coreml_zip, build_ctranslate2_model
from habla_ml.defs.assets.monitoring import build_released_model_quality
from habla_ml.defs.assets.recordings import build_raw_recordings
from habla_ml.defs.assets.release import build_cdn_release
from habla_ml.defs.assets.review import build_review_queue
from habla_ml.defs.assets.splits import build_splits
from habla_ml.defs.assets.wer_report import build_wer_report
from habla_ml.settings import Settings


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets for these settings."""
    return [
        build_raw_recordings(settings),
        build_annotated_corpus(settings),
        build_review_queue(settings),
        build_splits(settings),
        build_corpus_report(settings),
        build_fine_tuned_checkpoint(settings),
        build_ctranslate2_model(settings),
        build_wer_report(settings),
        build_coreml_zip(settings),
        build_cdn_release(settings),
        build_released_model_quality(settings),
        build_engine_comparison(settings),
    ]
