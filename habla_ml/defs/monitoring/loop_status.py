"""`loop_status`: the state of the whole loop as metadata, the checks of recordings that wait, and the schedule of both."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.jobs import REPORT_STATUS, SESSIONS_AT_RISK, SESSIONS_WAIT
from habla_ml.defs.monitoring.loop_facts import read_orchestrator_facts
from habla_ml.defs.partitions import DATA_OWNERS
from habla_ml.defs.presentation import bullet_list, link_service_page
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.defs.schedules import expect_each_time, request_occasion, schedule_job
from habla_ml.errors import isolate
from habla_ml.settings import Settings
from habla_ml.tables import escape_markdown

if TYPE_CHECKING:
    from habla_ml.monitoring.status.loop_status import LoopStatus

_MOST_STEPS: Final = 3


def build_loop_status(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; it reads folders, pointers and Dagster's own state, and no recording."""

    @dg.asset(
        group_name="operations",
        owners=DATA_OWNERS,
        kinds={"markdown"},
        code_version=get_code_version("loop_status"),
        freshness_policy=expect_each_time(settings.monitoring.loop.status_cron, settings),
        description=(
            "The state of the loop at a glance: hours until the next version, what waits, what failed, what is set "
            "aside, what comes next, the released version and how far the oldest recording that is not in the lake is "
            f"from being deleted by Habla. `{settings.command('status')}` shows the same in a terminal."
        ),
    )
    def loop_status(context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource) -> dg.MaterializeResult:
        from habla_ml.monitoring.status.inputs import StatusInputs
        from habla_ml.monitoring.status.loop_status import read_loop_status

        now = datetime.now(UTC)
        repository = _find_repository(context)
        inputs = StatusInputs(
            settings,
            now,
            lake.lake,
            cdn.store,
            lambda: read_orchestrator_facts(context.instance, repository, settings, now, context.run.run_id),
        )
        page = link_service_page(settings, "/status")
        return dg.MaterializeResult(metadata=build_status_metadata(read_loop_status(inputs), page))

    return loop_status


def _find_repository(context: dg.AssetExecutionContext) -> dg.RepositoryDefinition | None:
    """Return the code location of the run; None in a run that was started without one, as from a script."""
    found: list[dg.RepositoryDefinition] = []
    with isolate("code location", []):
        found.append(context.repository_def)
    return found[0] if found else None


def build_status_metadata(status: "LoopStatus", page: Mapping[str, dg.MetadataValue]) -> dict[str, dg.MetadataValue]:
    """Return an entry for each subject, a list of what comes next, and the figures that chart over time."""
    from habla_ml.monitoring.status.rendering import MARKS, render_markdown_section

    steps = [f"{each.subject}: {each.next_step}" for each in status.problems if each.next_step]
    *sections, coming = status.sections
    lines = defaultdict[str, list[str]](list)
    for each in (finding for section in sections for finding in section.findings):
        step = f" → {each.next_step}" if each.next_step else ""
        lines[each.subject].append(f"{MARKS[each.health]} {each.found}{step}".replace("`", ""))
    return build_result_metadata(
        status.summary,
        {"lines that need you": len(status.problems), **status.figures},
        "; ".join(steps[:_MOST_STEPS]) or "nothing",
        page=page,
        details={
            **{subject: _join_lines(found) for subject, found in lines.items()},
            "coming next": dg.MetadataValue.md(render_markdown_section(coming)),
            "problems": len(status.problems),
            **status.figures,
        },
    )


def _join_lines(lines: Sequence[str]) -> str | dg.MarkdownMetadataValue:
    return lines[0] if len(lines) == 1 else bullet_list(map(escape_markdown, lines))


def build_loop_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks of recordings that are not in the lake; they need no ingest to run."""
    recordings = dg.AssetKey("raw_recordings")
    return [_build_wait_check(settings, recordings), _build_risk_check(settings, recordings)]


def _build_wait_check(settings: Settings, recordings: dg.AssetKey) -> dg.AssetChecksDefinition:
    most_h = settings.monitoring.loop.most_hours_waiting

    @dg.asset_check(
        asset=recordings,
        name=SESSIONS_WAIT,
        description=(
            f"No finished session in Habla's folder has waited for its ingest for more than {most_h:g} h. Days without "
            "lessons, such as holidays, are no fault. If it fails, see the daemon and the failed runs in `loop_status`."
        ),
    )
    def sessions_wait(lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.monitoring.stopped_loop import find_longest_waiting
        from habla_ml.recordings.unsaved_sessions import survey_folder

        now = datetime.now(UTC)
        if settings.recordings.folder_problem is not None:
            return _report_missing_folder(settings)
        survey = survey_folder(lake.lake(), settings, now)
        longest = find_longest_waiting(survey, now)
        hours = longest.hours_waited(now) if longest else 0.0
        return dg.AssetCheckResult(
            passed=hours <= most_h,
            description=f"the finished session that waits longest has waited for {hours:.1f} h"
            if longest
            else "no finished session waits",
            metadata={"waiting sessions": len(survey.waiting), "longest wait h": round(hours, 2)},
        )

    return sessions_wait


def _build_risk_check(settings: Settings, recordings: dg.AssetKey) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=recordings,
        name=SESSIONS_AT_RISK,
        description=(
            "Habla, which keeps recordings.max_recordings folders, does not soon delete a session that is not in the lake. If it "
            "fails, copy the folder and see why `new_recordings` does not ingest it."
        ),
    )
    def sessions_at_risk(lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.monitoring.stopped_loop import deletion_bound, is_near_deletion
        from habla_ml.recordings.unsaved_sessions import survey_folder

        if settings.recordings.folder_problem is not None:
            return _report_missing_folder(settings)
        survey = survey_folder(lake.lake(), settings, datetime.now(UTC))
        nearest = survey.nearest
        left = nearest.folders_left if nearest else None
        is_near = is_near_deletion(nearest, settings)
        return dg.AssetCheckResult(
            passed=not is_near,
            description="Habla deletes no session that is not in the lake"
            if left is None
            else f"{len(survey.unsaved)} sessions are not in the lake; new sessions until a deletion: {left}",
            metadata={
                "folders": survey.folders,
                "max_recordings": survey.limit,
                "not in the lake": len(survey.unsaved),
                "alert at": deletion_bound(settings),
                "folders left": "no such session" if left is None else left,
            },
        )

    return sessions_at_risk


def build_status_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule `monitoring.loop.status_cron`."""

    @schedule_job(
        REPORT_STATUS,
        settings.monitoring.loop.status_cron,
        settings,
        "Refreshes the state of the loop in the UI.",
    )
    def status_refresh(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return request_occasion(REPORT_STATUS, context)

    return status_refresh


def _report_missing_folder(settings: Settings) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description=settings.recordings.folder_problem or "")
