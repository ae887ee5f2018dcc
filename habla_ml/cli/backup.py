"""`habla-ml backup`, `restore` and `fsck`: save a lake, bring it back, and find damage in it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from habla_ml.api import Deployment, open_deployment
from habla_ml.cli.context import AsJson, error_terminal, print_json, print_labelled, print_line, print_progress
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import SettingsError
from habla_ml.settings import StoreSettings
from habla_ml.settings.yaml_files import format_validation_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from habla_ml.backup.create import BackupReport
    from habla_ml.backup.manifest import BackupManifest
    from habla_ml.integrity.check import LakeCheck
    from habla_ml.lake import Store

_MAX_REPAIRS: Final = 5

Target = Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix of the backups.")]
EndpointUrl = Annotated[
    str | None, typer.Option("--endpoint-url", help="S3 endpoint of the backups; default: that of the lake.")
]
Region = Annotated[str | None, typer.Option("--region", help="S3 region of the backups; default: that of the lake.")]


class BackupGroup(TyperGroup):
    """Commands with a default: `backup TARGET` is `backup create TARGET`."""

    default_command = "create"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the default command where no command is named."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


backup_app = typer.Typer(cls=BackupGroup, no_args_is_help=True, help="Save the lake to a folder or a bucket.")


@backup_app.command(BackupGroup.default_command)
def create_backup_command(
    target: Target,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Keep so many complete backups; remove older ones.")
    ] = None,
    drop_erased: Annotated[
        bool, typer.Option("--drop-erased", help="Remove the backups from before the last erasure.")
    ] = False,
    endpoint_url: EndpointUrl = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Save the lake's pointers and all objects that they lead to; copy only what the target does not have.

    `habla-ml backup TARGET` is short for it. Exits with 1 if something in the lake is missing or damaged; the rest is
    saved then, and no old backup is removed.
    """
    from habla_ml.backup.create import BackupRequest, create_backup
    from habla_ml.lake.factory import open_store

    context = open_deployment(profile)
    settings = context.settings
    request = BackupRequest(
        context.lake,
        open_store(settings.lake),
        _open_backups(context, target, endpoint_url, region),
        settings.work_folder,
        _list_objects_of_settings(context),
        keep,
        drop_erased,
    )
    report = create_backup(request, datetime.now(UTC), print_progress)
    _print_backup(report, target)
    if report.unreadable or not report.manifest.is_complete:
        raise typer.Exit(1)


@backup_app.command("list")
def list_backups_command(
    target: Target,
    as_json: AsJson = False,
    endpoint_url: EndpointUrl = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """List the backups in a folder or a bucket, the oldest first."""
    from habla_ml.backup.manifest import list_readable_manifests

    backups = _open_backups(open_deployment(profile), target, endpoint_url, region)
    manifests, unreadable = list_readable_manifests(backups)
    for each in unreadable:
        error_terminal.print(f"unreadable {each}", style="red")
    if as_json:
        listed = [each.model_dump(mode="json", exclude={"pointers"}) for each in manifests]
        print_json(listed)
        return
    for manifest in manifests:
        print_line(_describe(manifest))
        for fault in manifest.faults:
            print_labelled("fault", fault)
    if not manifests and not unreadable:
        print_line(f"no backup in {target}")


def restore_command(
    target: Target,
    to: Annotated[str, typer.Option("--to", help="Empty folder or s3://bucket/prefix that becomes the lake.")],
    backup: Annotated[
        str | None, typer.Option("--backup", help="Name of a backup; default: the newest complete.")
    ] = None,
    endpoint_url: EndpointUrl = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Restore a backup into an empty lake, and apply later erasures to it.

    A lake that is not empty is refused, since what is newer than the backup would be lost.
    """
    from habla_ml.backup.restore import RestoreRequest, restore_backup
    from habla_ml.lake.factory import open_lake, open_store

    context = open_deployment(profile)
    settings = context.settings
    place = {"endpoint_url": settings.lake.endpoint_url or endpoint_url, "region": settings.lake.region or region}
    lake_settings = settings.lake.model_copy(update={"url": to, **place})
    backups = _open_backups(context, target, endpoint_url, region)
    lake = open_lake(lake_settings, settings.work_folder / "cache")
    request = RestoreRequest(backups, backup, lake, open_store(lake_settings), settings)
    report = restore_backup(request, datetime.now(UTC), print_progress)
    print_line(f"restored {_describe(report.manifest)} to {lake.url}")
    if report.is_erased_again:
        print_line(
            f"a later erasure was applied: {report.moved_pointers} pointers moved, {report.deleted_objects} objects deleted"
        )
    for contributor in report.withdrawn:
        command = settings.command("erase", "--contributor", contributor)
        print_labelled(
            "left to you:", f"{contributor} withdrew after this backup; run `{command}` on the restored lake"
        )
    _print_unreadable(
        report.unreadable, "an erasure that only they have is not applied; erase again whom you erased since"
    )
    for fault in report.manifest.faults:
        print_labelled("fault", fault)
    print_line(f"set lake.url to {lake.url}, then run `{settings.command('fsck')}` and `{settings.command('status')}`")


def fsck_command(
    deep: Annotated[bool, typer.Option("--deep", help="Read every object and compare its sha256.")] = False,
    repair_from: Annotated[
        str | None, typer.Option("--repair-from", help="Backups to copy missing and damaged objects from.")
    ] = None,
    as_json: AsJson = False,
    endpoint_url: EndpointUrl = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Find what is missing, damaged or left over in the lake; say what it means and what to do.

    Exits with 1 if something is missing or damaged.
    """
    context = open_deployment(profile)
    backups = None if repair_from is None else _open_backups(context, repair_from, endpoint_url, region)
    found = _check_and_repair(context, deep=deep, backups=backups)
    if as_json:
        print_json(found.to_json())
    else:
        _print_check(found, context.lake.url)
    if found.is_damaged:
        raise typer.Exit(1)


def _check_and_repair(context: Deployment, *, deep: bool, backups: Store | None) -> LakeCheck:
    """Check the lake; with backups, repair and check again while that finds more to repair."""
    from habla_ml.integrity.check import LakeChecker
    from habla_ml.integrity.object_index import open_object_index
    from habla_ml.integrity.repair import repair_objects
    from habla_ml.lake.factory import open_store
    from habla_ml.scratch import make_scratch_folder

    store, work_folder = open_store(context.settings.lake), context.settings.work_folder
    for _ in range(_MAX_REPAIRS):  # a repaired tree can name further missing files
        with make_scratch_folder(work_folder, "fsck") as scratch, open_object_index(work_folder) as index:
            checker = LakeChecker(context.lake, store, index, _list_objects_of_settings(context), _print_check_progress)
            found = checker.check(scratch if deep else None)
            repaired = 0 if backups is None else repair_objects(store, backups, index.list_faulty(), scratch)
        if not repaired:
            break
        _print_check_progress(f"{repaired} objects copied from {backups.url if backups else ''}; checking again")
    return found


def _print_check_progress(text: str) -> None:
    error_terminal.print(text, style="dim")


def _print_check(found: LakeCheck, url: str) -> None:
    for each in found.findings:
        print_labelled(
            "damaged" if each.is_damage else "note",
            f"{each.subject}: {each.found}",
            "red" if each.is_damage else "yellow",
        )
        print_line(f"  {each.meaning}")
        print_line(f"  → {each.next_step}", "cyan")
    state = "damaged" if found.is_damaged else "whole"
    size = f"{found.pointers:,} pointers, {found.objects:,} objects, {found.size_bytes / 1e9:,.2f} GB"
    print_line(f"the lake {url} is {state}: {size}")


def _print_backup(report: BackupReport, target: str) -> None:
    print_line(f"{_describe(report.manifest)}; {report.copied:,} objects were new, {report.copied_bytes / 1e6:,.1f} MB")
    for fault in report.manifest.faults:
        print_labelled("fault", fault)
    if not report.manifest.is_complete:
        print_line("the backup is incomplete, and no old one was removed; `habla-ml fsck` explains the faults")
    if report.manifest.moved_meanwhile:
        print_labelled("note", f"moved while they were read: {', '.join(report.manifest.moved_meanwhile)}")
    if report.pruned.backups or report.pruned.objects:
        print_line(
            f"removed {len(report.pruned.backups)} old backups and {report.pruned.objects:,} objects, "
            f"{report.pruned.size_bytes / 1e6:,.1f} MB"
        )
    _print_unreadable(report.unreadable, "no old backup was removed; move the folder of each away")
    if report.irreplaceable:
        print_labelled(
            "left to you:",
            f"{len(report.irreplaceable)} backups have days or models that the lake has lost, and stay; the newest is "
            f"{report.irreplaceable[-1]}. `habla-ml restore` shows what they have; remove the folder of one that you do not need",
        )
    if report.before_erasure:
        print_labelled(
            "left to you:",
            f"{len(report.before_erasure)} backups are from before the last erasure and can have the erased voice; "
            f"`habla-ml backup {shlex.quote(target)} --drop-erased` removes them, and --keep does so in time",
        )


def _print_unreadable(faults: Sequence[str], consequence: str) -> None:
    for each in faults:
        print_labelled("unreadable", each, "red")
    if faults:
        print_labelled("left to you:", f"{len(faults)} backups cannot be read: {consequence}")


def _describe(manifest: BackupManifest) -> str:
    state = "" if manifest.is_complete else ", INCOMPLETE"
    size = f"{manifest.objects:,} objects, {manifest.size_bytes / 1e6:,.1f} MB"
    return f"{manifest.name}: {len(manifest.pointers):,} pointers, {size}{state}"


def _open_backups(context: Deployment, url: str, endpoint_url: str | None, region: str | None) -> Store:
    """Open the store of the backups, by default at the S3 endpoint of the lake."""
    from habla_ml.lake.factory import open_store

    lake = context.settings.lake
    try:
        where = StoreSettings(url=url, endpoint_url=endpoint_url or lake.endpoint_url, region=region or lake.region)
    except ValidationError as error:
        raise SettingsError(format_validation_errors(error, StoreSettings, "the backups' store")) from None
    return open_store(where)


def _list_objects_of_settings(context: Deployment) -> Mapping[str, str]:
    accepted = context.settings.quality.accepted_snapshot
    return {"accepted_snapshot": accepted} if accepted else {}
