"""`annotated_corpus`: one day's text under the current conventions."""

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.partitions import DATA_OWNERS, recording_days
from habla_ml.defs.presentation import (
    column_schema,
    corpus_report_path,
    link_service_page,
    table,
    tabulate_counts,
    tabulate_violations,
)
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.corpus.build import CorpusDay
    from habla_ml.lake import Lake

_ROWS_SHOWN = 100


def build_annotated_corpus(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset, partitioned by day.

    Its code version ends with the digest of the conventions, so that changed conventions mark every day stale.
    """
    conventions = load_conventions(settings.corpus.conventions)

    @dg.asset(
        partitions_def=recording_days(settings),
        deps=["raw_recordings"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet", "text"},
        code_version=f"{get_code_version('annotated_corpus')}-{conventions.digest[:16]}",
        description=(
            f"One day's human transcripts under the conventions {conventions.title}: corrections and confirmations "
            "from Habla, tables, Label Studio, devices and the service's page. Machine text is never a reference and text "
            "as typed never changes. No audio is read, so that a backfill under changed conventions is fast."
        ),
    )
    def annotated_corpus(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.annotation.sources import collect_events
        from habla_ml.corpus.build import build_day

        opened, day = lake.lake(), context.partition_key
        events = collect_events(opened, day, settings, datetime.now(UTC))
        built = build_day(opened, day, conventions, settings)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(built.parquet),
            metadata=_describe_day(opened, day, built, events.added, settings),
        )

    return annotated_corpus


def _describe_day(
    lake: "Lake", day: str, built: "CorpusDay", new_events: int, settings: Settings
) -> dict[str, dg.MetadataValue]:
    from habla_ml.corpus.build import CORPUS_SCHEMA

    share = round(100 * built.counts["annotated"] / max(1, built.counts["segments"]), 1)
    return build_result_metadata(
        f"the text of {day} under the conventions {built.conventions}",
        {
            "usable hours": built.hours,
            "segments": built.counts["segments"],
            "annotated": f"{built.counts['annotated']} ({share:g} %)",
            "new events": new_events,
            "with a problem": sum(built.problems.values()),
        },
        "correct more of this day on the page, in Label Studio or in Habla; `corpus_growth` says when a training is due",
        page=link_service_page(settings, "/correct"),
        details={
            "usable hours": built.hours,
            "new events": new_events,
            **{name: count for name, count in built.counts.items() if name != "segments"},
            "annotated share %": share,
            "problems": tabulate_counts("problem", built.problems),
            **_describe_segments(lake, built),
            "skipped table rows": _tabulate_skipped_rows(lake, settings),
            "their texts": corpus_report_path(settings),
            "conventions": built.conventions,
            "object": built.parquet,
            "dagster/column_schema": column_schema(CORPUS_SCHEMA),
        },
    )


def _describe_segments(lake: "Lake", built: "CorpusDay") -> dict[str, dg.MarkdownMetadataValue]:
    """Return tables of the unusable segments and of those that break a requirement, without their text."""
    from habla_ml.corpus.build import read_text_problems
    from habla_ml.corpus.violations import count_confirmed, read_violations

    violating = [
        {**vars(each), "violations": ", ".join(each.violations), "confirmed by a person": ", ".join(each.confirmed)}
        for each in read_violations(lake, built, most=_ROWS_SHOWN)
    ]
    return {
        "unusable segments": table(
            map(vars, read_text_problems(lake, built)), ["session_id", "file_name", "problem", "segment_id"]
        ),
        "violations": tabulate_violations("requirement", built.violations, count_confirmed(lake, built)),
        "violating segments": table(
            violating, ["session_id", "file_name", "violations", "confirmed by a person", "segment_id"]
        ),
    }


def _tabulate_skipped_rows(lake: "Lake", settings: Settings) -> dg.MarkdownMetadataValue:
    """Return the skipped rows by their number only: a cell can hold spoken words."""
    from habla_ml.annotation.sources.tables.table_import import load_last_import

    imports = (load_last_import(each, lake) for each in settings.annotation.tables)
    skipped = (each for done in imports if done for each in done.skipped_inputs)
    rows = (
        {"table": each.session, "row": each.file.partition(":")[0], "reason": each.reason}
        for each in islice(skipped, _ROWS_SHOWN)
    )
    return table(rows, ["table", "row", "reason"])
