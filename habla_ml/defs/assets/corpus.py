"""`annotated_corpus`: a day's text under the current conventions."""

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.owners import DATA_OWNERS
from habla_ml.defs.partitions import recording_days
from habla_ml.defs.presentation import column_schema, corpus_report_path, file_link, table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.recordings import Skipped

_ROWS_SHOWN = 100


def build_annotated_corpus(settings: Settings) -> dg.AssetsDefinition:
    """The asset, cut by day; its code version is the conventions' digest, so a change marks all days stale."""
    conventions = load_conventions(settings.corpus.conventions)

    @dg.asset(
        partitions_def=recording_days(settings),
        deps=["raw_recordings"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet", "text"},
        code_version=conventions.digest[:16],
        description=(
            f"One day's human transcripts under the conventions {conventions.title}: corrections and confirmations of "
            "people, from Habla and from tables. Machine text never enters as truth, text as typed is never changed, "
            "and no audio is read, so changed conventions are backfilled quickly."
        ),
    )
    def annotated_corpus(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.annotation.collect import collect_events
        from habla_ml.annotation.sources.tables.table_import import load_last_import
        from habla_ml.corpus.build import CORPUS_SCHEMA, build_day, read_text_problems
        from habla_ml.corpus.violations import count_confirmed, read_violations

        opened, day = lake.lake(), context.partition_key
        events = collect_events(opened, day, settings, datetime.now(UTC))
        built = build_day(opened, day, conventions, settings)
        problems = read_text_problems(opened, built)
        imported = [load_last_import(each, opened) for each in settings.annotation.tables]
        violating = read_violations(opened, built, most=_ROWS_SHOWN)
        confirmed = count_confirmed(opened, built)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(built.parquet),
            metadata={
                "usable hours": round(built.hours, 4),
                "new events": events.added,
                **{name: count for name, count in built.counts.items() if name != "segments"},
                "annotated share %": round(100 * built.counts["annotated"] / max(1, built.counts["segments"]), 1),
                "problems": table(
                    ({"problem": name, "segments": count} for name, count in built.problems.items()),
                    ["problem", "segments"],
                ),
                "unusable segments": table(
                    (vars(each) for each in problems), ["session_id", "file_name", "problem", "segment_id"]
                ),
                "violations": table(
                    (
                        {"requirement": name, "segments": count, "confirmed by a person": confirmed.get(name, 0)}
                        for name, count in built.violations.items()
                    ),
                    ["requirement", "segments", "confirmed by a person"],
                ),
                "violating segments": table(
                    (
                        {
                            **vars(each),
                            "violations": ", ".join(each.violations),
                            "confirmed by a person": ", ".join(each.confirmed),
                        }
                        for each in violating
                    ),
                    ["session_id", "file_name", "violations", "confirmed by a person", "segment_id"],
                ),
                "rows of tables set aside": table(
                    islice(
                        (_describe_skipped_row(each) for of in imported if of for each in of.skipped_inputs),
                        _ROWS_SHOWN,
                    ),
                    ["table", "row", "reason"],
                ),
                "their texts": file_link(corpus_report_path(settings)),
                "conventions": built.conventions,
                "object": built.parquet,
                "dagster/column_schema": column_schema(CORPUS_SCHEMA),
            },
        )

    return annotated_corpus


def _describe_skipped_row(each: "Skipped") -> dict[str, str]:
    """A row by its number: a cell that is not repeated cannot hold what somebody said."""
    return {"table": each.session, "row": each.file.partition(":")[0], "reason": each.reason}
