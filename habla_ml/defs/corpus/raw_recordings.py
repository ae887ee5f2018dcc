"""`raw_recordings`: one day of Habla's sessions in the lake."""

from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.partitions import DATA_OWNERS, recording_days
from habla_ml.defs.plots import plot_histogram
from habla_ml.defs.presentation import column_schema, table
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.settings import Settings

_MOST_SKIPPED_SHARE = 0.1


def build_raw_recordings(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset, partitioned by day of recording."""

    @dg.asset(
        partitions_def=recording_days(settings),
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet", "flac"},
        code_version=get_code_version("raw_recordings"),
        description=(
            "One day of Habla's finished sessions, copied before Habla deletes them. Each segment is stored as 16 kHz "
            "FLAC with its duration, loudness and clipping. Live sessions wait for the next tick; unusable files are "
            "skipped with a reason. The same input publishes the same object and does no work."
        ),
    )
    def raw_recordings(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.recordings.ingest import ingest_day
        from habla_ml.recordings.segments import SEGMENT_SCHEMA, read_segment_metadata

        opened, quiet_below = lake.lake(), settings.evaluation.quiet_below_dbfs
        day = ingest_day(settings.recordings.folder, context.partition_key, opened, settings, datetime.now(UTC))
        loudness = [row["loudness_dbfs"] for row in read_segment_metadata(opened, day.metadata, ["loudness_dbfs"])]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(day.parquet),
            metadata=build_result_metadata(
                f"the recordings of {context.partition_key} in the lake, as 16 kHz FLAC",
                {
                    "segments": day.segments,
                    "hours": day.hours,
                    "quiet segments": sum(level < quiet_below for level in loudness),
                    "files skipped": len(day.skipped_inputs),
                },
                _find_next_step(len(day.skipped_inputs)),
                details={
                    "loudness": plot_histogram(
                        loudness, "dBFS", "segments by loudness; line: quiet below", quiet_below
                    ),
                    "segments": day.segments,
                    "hours": day.hours,
                    "quiet segments": sum(level < quiet_below for level in loudness),
                    "skipped": len(day.skipped_inputs),
                    "sessions read now": len(day.read_sessions),
                    "sessions": day.sessions,
                    "skipped inputs": table(map(vars, day.skipped_inputs[:100]), ["session", "file", "reason"]),
                    "object": day.parquet,
                    "dagster/column_schema": column_schema(SEGMENT_SCHEMA),
                },
            ),
        )

    return raw_recordings


def _find_next_step(skipped: int) -> str:
    done = "nothing: the next step builds the text, and corrections come in by themselves"
    return "look at `skipped inputs`, remove the causes and materialise the day again" if skipped else done


def build_recordings_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks that the recordings folder exists and that few of its files are skipped."""

    @dg.asset_check(
        asset="raw_recordings",
        description=(
            "`recordings.folder` exists, so that new sessions can be ingested. If it fails, mount the folder or correct "
            "the profile."
        ),
    )
    def recordings_folder_exists() -> dg.AssetCheckResult:
        problem = settings.recordings.folder_problem
        return dg.AssetCheckResult(
            passed=problem is None,
            description=problem or "the folder can be read",
            metadata={"folder": dg.MetadataValue.path(str(settings.recordings.folder))},
        )

    @dg.asset_check(
        asset="raw_recordings",
        description=(
            f"Less than {_MOST_SKIPPED_SHARE:.0%} of a day's files are skipped. If it fails, remove the causes in the "
            "table `skipped inputs` and materialise the day again."
        ),
    )
    def few_files_set_aside(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.recordings.days import load_day, read_skipped_inputs

        opened = lake.lake()
        day = load_day(opened, context.partition_key)
        if day is None:
            return dg.AssetCheckResult(passed=False, description="the day is not in the lake: materialise it")
        skipped = len(read_skipped_inputs(opened, day.set_aside))
        return dg.AssetCheckResult(
            passed=skipped / max(1, skipped + day.segments) < _MOST_SKIPPED_SHARE,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{skipped} files were skipped and {day.segments} segments read; `skipped inputs` has the reasons",
            metadata={"skipped": skipped, "segments": day.segments},
        )

    return [recordings_folder_exists, few_files_set_aside]
