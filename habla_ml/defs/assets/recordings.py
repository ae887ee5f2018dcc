"""`raw_recordings`: a day of Habla's sessions in the lake."""

from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.owners import DATA_OWNERS
from habla_ml.defs.partitions import recording_days
from habla_ml.defs.plots import histogram
from habla_ml.defs.presentation import column_schema, plot, table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings


def build_raw_recordings(settings: Settings) -> dg.AssetsDefinition:
    """The asset, cut by day of recording."""

    @dg.asset(
        partitions_def=recording_days(settings),
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet", "flac"},
        code_version="1",
        description=(
            "One day of Habla's finished sessions, copied before Habla deletes them: every segment as 16 kHz FLAC with "
            "its duration, loudness and clipping. Live sessions wait for the next tick; files that cannot be used are "
            "set aside with the reason. The same input publishes the same object and does no work."
        ),
    )
    def raw_recordings(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.recordings.ingest import ingest_day
        from habla_ml.recordings.segments import SEGMENT_SCHEMA, read_segment_metadata

        opened = lake.lake()
        day = ingest_day(settings.recordings.folder, context.partition_key, opened, settings, datetime.now(UTC))
        loudness = [row["loudness_dbfs"] for row in read_segment_metadata(opened, day.facts, ["loudness_dbfs"])]
        quiet = sum(level < settings.evaluation.quiet_below_dbfs for level in loudness)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(day.parquet),
            metadata={
                "segments": day.segments,
                "hours": round(day.hours, 4),
                "quiet segments": quiet,
                "set aside": len(day.skipped_inputs),
                "sessions read now": len(day.read_sessions),
                "sessions": table([dict(day.sessions)], list(day.sessions)),
                "what was set aside": table(
                    ({"session": s.session, "file": s.file, "reason": s.reason} for s in day.skipped_inputs[:100]),
                    ["session", "file", "reason"],
                ),
                "loudness": plot(
                    histogram(loudness, "dBFS", settings.evaluation.quiet_below_dbfs), "loudness in dBFS"
                ),
                "object": day.parquet,
                "dagster/column_schema": column_schema(SEGMENT_SCHEMA),
            },
        )

    return raw_recordings
