"""`habla-ml releases`, `rollback`, `promote`, `rollout` and `renew`: the releases of a channel."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from habla_ml.api import Deployment, open_deployment
from habla_ml.cli.context import AsJson, print_json, print_labelled, print_line, print_rich_table
from habla_ml.cli.profile_option import Profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from habla_ml.release.channel import ChannelPointer
    from habla_ml.release.published import PublishedRelease
    from habla_ml.release.signing import Signing
    from habla_ml.settings import Settings

Channel = Annotated[str | None, typer.Option(help="Default release.channel.")]
Seen = Annotated[
    int | None,
    typer.Option(help="Number of the move that you saw, as `releases` prints it; refused if the channel moved since."),
]
Percent = Annotated[
    int | None, typer.Option(min=0, max=100, help="Share of the devices; default release.rollout_percent.")
]
Critical = Annotated[
    bool | None, typer.Option(help="Whether apps install it at once, also over a metered connection; default as it is.")
]
Unverified = Annotated[
    bool, typer.Option("--unverified", help="Sign what none of the keys here signed before. Look at it first.")
]


def releases_command(
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file of these releases, and compare it with its manifest.")
    ] = False,
    as_json: AsJson = False,
    profile: Profile = None,
    channel: Channel = None,
) -> None:
    """List the releases of a channel, newest first; an arrow marks the current one.

    With --verify, it exits with 1 if a file is missing or damaged; in JSON, `problem` says what, or is null.
    """
    from habla_ml.release.channel import read_channel
    from habla_ml.release.published import list_releases

    context = open_deployment(profile)
    name = channel or context.settings.release.channel
    releases = list_releases(context.release_store, name)
    checked = _check_files(context, name) if verify else ()
    if as_json:
        problems = dict(checked)
        print_json([_describe(each) | ({"problem": problems[each.version]} if verify else {}) for each in releases])
    else:
        _print_releases(releases, read_channel(context.release_store, name).current, name, context.settings)
        problems = dict(map(_print_problem, checked))
    if any(problems.values()):
        raise typer.Exit(1)


def _describe(release: PublishedRelease) -> dict[str, object]:
    return {
        "version": release.version,
        "model_version": release.model_version,
        "released_at": release.released_at,
        "is_current": release.is_current,
        "archives": {platform: model.size_bytes for platform, model in release.models.items()},
    }


def _print_releases(
    releases: Iterable[PublishedRelease], current: ChannelPointer | None, name: str, settings: Settings
) -> None:
    found = list(releases)
    if not found:
        print_line(f"no release on the channel {name}; the report of a version says why it was not released")
        return
    table = Table("", "version", "model", "released", "archives")
    for each in found:
        archives = ", ".join(f"{platform} {model.size_bytes / 1e6:.1f} MB" for platform, model in each.models.items())
        table.add_row(
            "→" if each.is_current else "",
            each.version,
            each.model_version,
            settings.format_minute(each.released_at),
            archives,
        )
    print_rich_table(table)
    if current is not None:
        signed = f"signed until {settings.format_day(current.expires_at)}" if current.signed else "not signed"
        share = f"{current.rollout_percent} % of the devices"
        print_line(f"{name} is at move {current.sequence} ({current.move}), for {share}, {signed}")


def _check_files(context: Deployment, channel: str) -> Iterator[tuple[str, str | None]]:
    """Read all files of each release; yield its version, and what is wrong, or None if every file is as published."""
    from habla_ml.errors import ReleaseError
    from habla_ml.release.channel import read_channel
    from habla_ml.release.stored_files import verify_release_files

    for each in reversed(read_channel(context.release_store, channel).releases):
        try:
            verify_release_files(context.release_store, each)
        except ReleaseError as error:
            yield each.version, str(error)
        else:
            yield each.version, None


def _print_problem(checked: tuple[str, str | None]) -> tuple[str, str | None]:
    version, problem = checked
    print_labelled(version, problem or "every file is as it was published", "red" if problem else "green")
    return checked


def rollback_command(
    to: Annotated[str | None, typer.Option(help="A released version; default the previous one.")] = None,
    seen: Seen = None,
    unverified: Unverified = False,
    profile: Profile = None,
    channel: Channel = None,
) -> None:
    """Move a channel's pointer back to an earlier release.

    With --seen, two people who react to one incident go back once.
    """
    from habla_ml.release.moves import rollback

    context = open_deployment(profile)
    name = channel or context.settings.release.channel
    moved = rollback(context.release_store, name, to, None, seen, _open_signing(context, unverified))
    print_line(f"{name} now points to {moved.version}")


def promote_command(
    source: Annotated[str, typer.Argument(help="The channel whose release is promoted, such as `beta`.")],
    percent: Percent = None,
    critical: Annotated[
        bool, typer.Option("--critical", help="Apps install it at once, also over a metered connection.")
    ] = False,
    seen: Annotated[
        int | None, typer.Option(help="Number of the move of SOURCE that you saw; refused if SOURCE moved since.")
    ] = None,
    profile: Profile = None,
    channel: Channel = None,
) -> None:
    """Release what another channel offers on this channel too, with the same files."""
    from habla_ml.release.channel import Delivery
    from habla_ml.release.moves import promote

    context = open_deployment(profile)
    chosen = context.settings.release
    name = channel or chosen.channel
    delivery = Delivery(
        minimum_app_version=chosen.minimum_app_version,
        rollout_percent=chosen.rollout_percent if percent is None else percent,
        critical=critical,
    )
    moved = promote(context.release_store, source, name, delivery, None, seen, _open_signing(context))
    print_line(f"{name} now points to {moved.version}, for {moved.rollout_percent} % of the devices")


def rollout_command(
    percent: Annotated[int, typer.Argument(min=0, max=100, help="Share of the devices that install the release.")],
    critical: Critical = None,
    seen: Seen = None,
    profile: Profile = None,
    channel: Channel = None,
) -> None:
    """Give the present release to another share of the devices. A larger share contains each smaller one."""
    from habla_ml.release.moves import change_delivery

    context = open_deployment(profile)
    name = channel or context.settings.release.channel
    moved = change_delivery(context.release_store, name, percent, critical, None, seen, _open_signing(context))
    print_line(f"{name} offers {moved.version} to {moved.rollout_percent} % of the devices")


def renew_command(unverified: Unverified = False, profile: Profile = None, channel: Channel = None) -> None:
    """Renew the signature of a channel, so that apps go on installing its release."""
    from habla_ml.release.moves import renew_signature

    context = open_deployment(profile)
    name = channel or context.settings.release.channel
    renewed = renew_signature(context.release_store, name, _open_signing(context, unverified))
    if renewed is None:
        print_line(f"{name} has no release yet")
    else:
        print_line(f"{name} is signed until {context.settings.format_day(renewed.expires_at)}")


def _open_signing(context: Deployment, unverified: bool = False) -> Signing:
    from habla_ml.release.keys import open_signing

    signing = open_signing(context.settings, context.release_store, datetime.now(UTC))
    return replace(signing, accepts_unverified=unverified)
