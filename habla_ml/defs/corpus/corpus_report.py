"""`corpus_report`: the state of the corpus as a page and as metadata."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.partitions import DATA_OWNERS
from habla_ml.defs.presentation import corpus_report_path, table, tabulate_counts, tabulate_violations, to_percent
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.defs.schedules import expect_each_time
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.corpus.report import CorpusReport

_DAYS_LISTED = 31
HOURS_LEFT: Final = "hours until the next version"
"""Hours of corrected speech until `corpus_growth` requests a training."""


def build_corpus_report(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; one report covers the whole corpus."""

    @dg.asset(
        deps=["annotated_corpus", "splits"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"html"},
        code_version=get_code_version("corpus_report"),
        freshness_policy=expect_each_time(settings.review.cron, settings),
        description=(
            "The corpus as one HTML page: hours by day, speaker, role and loudness, the annotated share, vocabulary "
            "growth, conventions, violations, and flagged segments to listen to. The file in the work folder contains "
            "voices and texts. The copy in the lake has counts only, so that it needs no erasure."
        ),
    )
    def corpus_report(lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.corpus.report import describe_corpus
        from habla_ml.corpus.report_page import render_corpus_report
        from habla_ml.training.growth import measure_growth

        opened = lake.lake()
        report = describe_corpus(opened, settings.quality)
        path = corpus_report_path(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_corpus_report(report), encoding="utf-8")
        hours_left = measure_growth(opened).find_hours_left(settings.automation.growth_hours)
        object_id = opened.put_bytes(render_corpus_report(report.redact()).encode())
        return dg.MaterializeResult(
            data_version=dg.DataVersion(object_id),
            metadata=_build_metadata(report, path, object_id, hours_left),
        )

    return corpus_report


def _build_metadata(
    report: "CorpusReport", path: Path, object_id: str, hours_left: float
) -> dict[str, dg.MetadataValue]:
    last = report.vocabulary[-1] if report.vocabulary else None
    days = (
        {
            "day": day.day,
            "recorded h": day.recorded_h,
            "usable h": day.usable_h,
            "annotated %": to_percent(day.annotated / max(1, day.segments)),
        }
        for day in reversed(report.days[-_DAYS_LISTED:])
    )
    flags = sum(report.flagged_counts.values())
    details = {
        "report": path,
        "recorded hours": report.recorded_h,
        "usable hours": report.usable_h,
        HOURS_LEFT: hours_left,
        "annotated share %": to_percent(report.annotated_share),
        "words": last.words if last else 0,
        "different words": last.distinct if last else 0,
        "flags": flags,
        "hours by day": table(days, ["day", "recorded h", "usable h", "annotated %"]),
        "flagged": tabulate_counts("flag", report.flagged_counts),
        "broken rules": tabulate_violations("rule", report.violations, report.confirmed),
        "conventions": table(
            ({"conventions": each.title, "days": each.days} for each in report.conventions), ["conventions", "days"]
        ),
        "object": object_id,
    }
    return build_result_metadata(
        f"the state of the corpus on {len(report.days)} days, as a page with texts and audio",
        {
            "recorded hours": report.recorded_h,
            "usable hours": report.usable_h,
            HOURS_LEFT: hours_left,
            "annotated": f"{to_percent(report.annotated_share):.1f} %",
            "flagged segments": flags,
        },
        "open the file at `report` on this machine and look at the flagged segments"
        if flags
        else "correct more speech",
        details=details,
    )
