"""`storage_cleanup`: removes what nothing needs, on a schedule."""

from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.jobs import CLEAN_UP
from habla_ml.defs.partitions import DATA_OWNERS
from habla_ml.defs.presentation import bullet_list, show_table
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.defs.schedules import expect_each_time, request_occasion, schedule_job
from habla_ml.settings import Settings


def build_storage_cleanup(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; each materialisation is one cleanup."""
    days = settings.cleanup.grace_days

    @dg.asset(
        group_name="operations",
        owners=DATA_OWNERS,
        kinds={"json"},
        code_version=get_code_version("storage_cleanup"),
        freshness_policy=expect_each_time(settings.cleanup.cron, settings),
        description=(
            "Removes temporary folders of killed runs, local copies of models that are not used, scratch files of "
            "published trainings, superseded objects in the lake and release files that no channel names. Nothing is "
            f"removed that a pointer leads to, a running process holds, or that was in use in the last {days:g} days. "
            f"`{settings.command('gc')}` shows what is due and changes nothing."
        ),
    )
    def storage_cleanup(lake: StoreResource, cdn: StoreResource) -> dg.MaterializeResult:
        from habla_ml.cleanup.run import clean_up, tabulate_groups

        report = clean_up(lake.lake(), cdn.store(), settings, datetime.now(UTC), delete=True)
        return dg.MaterializeResult(
            metadata=build_result_metadata(
                "one cleanup of the work folder, the lake and the release files",
                {
                    "removed": report.removed,
                    "freed": f"{report.removed_bytes / 1e6:,.1f} MB",
                    "problems": len(report.problems),
                },
                "fix the causes in `problems`; the next cleanup tries again" if report.problems else "nothing",
                details={
                    "removed": report.removed,
                    "removed MB": report.removed_bytes / 1e6,
                    "found": show_table(tabulate_groups(report.groups, days)),
                    "problems": bullet_list(report.problems or ["none"]),
                },
            ),
        )

    return storage_cleanup


def build_cleanup_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule `cleanup.cron`."""

    @schedule_job(
        CLEAN_UP,
        settings.cleanup.cron,
        settings,
        "Removes what no pointer and no running process needs.",
    )
    def weekly_cleanup(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return request_occasion(CLEAN_UP, context)

    return weekly_cleanup
