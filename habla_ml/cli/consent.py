"""`habla-ml erase`: what a person does when somebody withdraws their consent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from habla_ml.errors import InputError
from habla_ml.settings import load_settings

console = Console()


def erase_command(
    contributor: Annotated[str, typer.Option(help="The pseudonym, as the register of consents has it.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be erased, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="A profile below configs/, or a YAML file; default HABLA_PROFILE."),
    ] = None,
) -> None:
    """Erase a contributor's voice and text from lake, corpus, splits and reports; name the models that heard it."""
    from habla_ml.consent.register import Contributor, load_register
    from habla_ml.erasure.erase import ErasurePlan, erase, plan_erasure
    from habla_ml.lake.factory import open_lake

    settings = load_settings(profile)
    entry: Contributor | None = None
    if settings.consent.registry is not None:
        entry = load_register(settings.consent.registry).find(contributor)
    if entry is None:
        raise InputError(
            f"contributor {contributor!r} is not in the register {settings.consent.registry}; "
            "name the file in consent.registry and the contributor in it (docs/consent.md)"
        )
    lake, now = open_lake(settings.lake, settings.work_folder / "cache"), datetime.now(UTC)
    plan: ErasurePlan = plan_erasure(lake, entry, settings, now)
    held = plan.contributor_data
    console.print(
        f"{contributor}: {len(held.segments)} segments, {held.hours * 60:.1f} minutes on {len(held.days)} days "
        f"in {settings.lake.url}",
        soft_wrap=True,
    )
    if held.withheld:
        console.print(f"{len(held.withheld)} more segments were withheld; what was said of them goes as well")
    _print_versions(plan.affected_versions.trained, plan.affected_versions.evaluated)
    if dry_run:
        console.print("nothing was changed (--dry-run)")
        return
    if not yes:
        typer.confirm("Erase this for ever? Nothing can bring it back", abort=True)
    report = erase(
        lake,
        plan,
        settings,
        now,
        progress=lambda line: console.print(f"  {line}", soft_wrap=True),
    )
    console.print(
        f"erased: {report.segments} segments, {report.hours * 60:.1f} minutes of {contributor}; "
        f"{len(report.moved_pointers)} pointers moved, {report.objects} objects and {report.files} files deleted",
        soft_wrap=True,
    )
    _print_versions(report.trained_versions, report.evaluated_versions)
    for step in report.left_to_person:
        console.print("[yellow]left to you:[/yellow]", escape(step), soft_wrap=True)


def _print_versions(heard: tuple[str, ...], tested: tuple[str, ...]) -> None:
    console.print(f"model versions that heard the voice: {', '.join(heard) or 'none'}", soft_wrap=True)
    console.print(f"model versions that were tested on it: {', '.join(tested) or 'none'}", soft_wrap=True)
