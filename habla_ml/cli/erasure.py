"""`habla-ml erase`: erase a contributor who withdrew consent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from habla_ml.api import open_deployment
from habla_ml.cli.context import print_labelled, print_line
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import InputError

if TYPE_CHECKING:
    from habla_ml.consent.register import Contributor
    from habla_ml.erasure.erase import ErasurePlan
    from habla_ml.lake import Lake
    from habla_ml.settings import Settings


def erase_command(
    contributor: Annotated[str | None, typer.Option(help="The pseudonym in the consent register.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be erased; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without a confirmation.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Only finish what the Hub did not let erase.")] = False,
    deleted_on_hub: Annotated[
        str | None, typer.Option(help="A dataset repository that you deleted on the Hub yourself.")
    ] = None,
    profile: Profile = None,
) -> None:
    """Erase a contributor's voice and text everywhere; list the model versions that were trained or tested on it.

    Exits with 1 while a repository of the Hub can still have the voice.
    """
    from habla_ml.erasure.erase import erase, plan_erasure

    context = open_deployment(profile)
    settings, lake, now = context.settings, context.lake, datetime.now(UTC)
    if contributor is None:
        if not finish and deleted_on_hub is None:
            raise InputError("name whom to erase with --contributor, or finish earlier erasures with --finish")
        _finish_on_hub(lake, settings, deleted_on_hub)
        return
    plan = plan_erasure(lake, _find_contributor(settings, contributor, now), settings, now)
    _print_plan(contributor, plan, settings)
    if dry_run:
        print_line("nothing was changed (--dry-run)")
        return
    if not yes:
        typer.confirm("Erase this permanently? It cannot be undone", abort=True)
    report = erase(lake, plan, settings, now, progress=lambda line: print_line(f"  {line}"))
    print_line(
        f"erased: {report.segments} segments, {report.hours * 60:.1f} minutes of {contributor}; "
        f"{len(report.moved_pointers)} pointers moved, {report.objects} objects and {report.files} files deleted"
    )
    _print_versions(report.trained_versions, report.evaluated_versions)
    for step in report.left_to_person:
        print_labelled("left to you:", step)
    if report.hub_datasets:
        print_line(f"removed on the Hub, with the history: {', '.join(report.hub_datasets)}")
    _exit_if_pending(report.pending, settings)


def _finish_on_hub(lake: Lake, settings: Settings, deleted_repository: str | None) -> None:
    from habla_ml.erasure.hub_datasets import confirm_deleted_repository, erase_from_hub

    if deleted_repository is not None:
        confirm_deleted_repository(lake, settings, deleted_repository)
    found = erase_from_hub(lake, settings, progress=print_line)
    _exit_if_pending(found.pending, settings)
    print_line("no repository of the Hub waits for an erasure")


def _exit_if_pending(pending: tuple[str, ...], settings: Settings) -> None:
    for each in pending:
        print_labelled("not finished:", each, style="bold red")
    if pending:
        print_line(f"then run `{settings.command('erase', '--finish')}`, or let the sensor withdrawn_consents do it")
        raise typer.Exit(1)


def _find_contributor(settings: Settings, name: str, now: datetime) -> Contributor:
    from habla_ml.consent.admission import load_consents

    entry = load_consents(settings, now).register.find(name)
    if entry is None:
        raise InputError(
            f"contributor {name!r} is not in the register ({settings.consent.registry or 'consent.registry is not set'}) and "
            "gave no consent in the service; set consent.registry to the register's file and add the contributor to it "
            "(docs/consent.md)"
        )
    return entry


def _print_plan(contributor: str, plan: ErasurePlan, settings: Settings) -> None:
    found = plan.contributor_data
    print_line(
        f"{contributor}: {len(found.segments)} segments, {found.hours * 60:.1f} minutes on {len(found.days)} days "
        f"in {settings.lake.url}"
    )
    if plan.received_clips:
        print_line(f"{plan.received_clips} clips in the service, with their corrections")
    if plan.hub_datasets:
        print_line(f"datasets on the Hub with the voice: {', '.join(plan.hub_datasets)}")
    if found.withheld:
        print_line(f"{len(found.withheld)} more segments were withheld; their annotations are erased too")
    _print_versions(plan.affected_versions.trained, plan.affected_versions.evaluated)


def _print_versions(trained: tuple[str, ...], evaluated: tuple[str, ...]) -> None:
    print_line(f"model versions trained on the voice: {', '.join(trained) or 'none'}")
    print_line(f"model versions tested on it: {', '.join(evaluated) or 'none'}")
