"""`corpus_report`: the state of the corpus as a page and as metadata."""

import dagster as dg

from habla_ml.defs.owners import DATA_OWNERS
from habla_ml.defs.presentation import corpus_report_path, file_link, table, to_percent
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

_DAYS_LISTED = 31


def build_corpus_report(settings: Settings) -> dg.AssetsDefinition:
    """The asset; one for the whole corpus."""

    @dg.asset(
        deps=["annotated_corpus", "splits"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"html"},
        code_version="1",
        description=(
            "The corpus as one HTML page: hours by day, speaker, role and loudness, the share that people looked at, "
            "the growth of the vocabulary, conventions and broken rules, and flagged segments to listen to. The file "
            "in the work folder has their voices and texts; the copy in the lake has counts only, so that nothing is "
            "left of a withdrawn consent."
        ),
    )
    def corpus_report(lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.corpus.report import describe_corpus
        from habla_ml.corpus.report_page import render_corpus_report

        opened = lake.lake()
        report = describe_corpus(opened, settings.quality)
        path = corpus_report_path(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_corpus_report(report), encoding="utf-8")
        kept = opened.put_bytes(render_corpus_report(report.redact()).encode())
        last = report.vocabulary[-1] if report.vocabulary else None
        return dg.MaterializeResult(
            data_version=dg.DataVersion(kept),
            metadata={
                "report": file_link(path),
                "object": kept,
                "recorded hours": round(report.recorded_h, 4),
                "usable hours": round(report.usable_h, 4),
                "annotated share %": to_percent(report.annotated_share),
                "words": last.words if last else 0,
                "different words": last.distinct if last else 0,
                "flags": sum(report.flagged_counts.values()),
                "hours by day": table(
                    (
                        {
                            "day": day.day,
                            "recorded h": day.recorded_h,
                            "usable h": day.usable_h,
                            "annotated %": to_percent(day.annotated / max(1, day.segments)),
                        }
                        for day in reversed(report.days[-_DAYS_LISTED:])
                    ),
                    ["day", "recorded h", "usable h", "annotated %"],
                ),
                "flagged": table(
                    ({"flag": reason, "segments": number} for reason, number in report.flagged_counts.items()),
                    ["flag", "segments"],
                ),
                "broken rules": table(
                    (
                        {"rule": rule, "segments": number, "confirmed by a person": report.confirmed.get(rule, 0)}
                        for rule, number in report.violations.items()
                    ),
                    ["rule", "segments", "confirmed by a person"],
                ),
                "conventions": table(
                    ({"conventions": each.title, "days": each.days} for each in report.conventions),
                    ["conventions", "days"],
                ),
            },
        )

    return corpus_report
