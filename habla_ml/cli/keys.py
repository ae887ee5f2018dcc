"""`habla-ml keys`: the keys that sign releases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.table import Table

from habla_ml.api import open_deployment
from habla_ml.cli.context import AsJson, print_json, print_line, print_rich_table
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import ReleaseError

keys_app: Final = typer.Typer(no_args_is_help=True, help="Keys that sign releases, and the document that apps trust.")


@keys_app.command("create")
def create_command(profile: Profile = None) -> None:
    """Make a root key and a release key, and store the first document of keys. The first release does the same."""
    from habla_ml.release.keys import open_signing

    context = open_deployment(profile)
    open_signing(context.settings, context.release_store, datetime.now(UTC))
    print_line(f"the keys are in {context.settings.keys_folder}; move root-*.pem to a stick, and keep two copies")


@keys_app.command("list")
def list_command(as_json: AsJson = False, profile: Profile = None) -> None:
    """Print the keys that apps trust, and which of them are at hand."""
    from habla_ml.release.keys import read_newest_keys
    from habla_ml.release.signing import list_key_ids

    context = open_deployment(profile)
    newest = read_newest_keys(context.release_store)
    if newest is None:
        if as_json:
            print_json([])
            return
        print_line(f"there are no keys yet; `{context.settings.command('keys', 'create')}` makes them")
        return
    folder = context.settings.keys_folder
    rows = []
    for role, trusted in (("root", newest.keys.root_keys), ("release", newest.keys.release_keys)):
        held = list_key_ids(folder, "root" if role == "root" else "release")
        rows += [
            {"key": key_id, "role": role, "private_key": "here" if key_id in held else "elsewhere"}
            for key_id in trusted
        ]
    if as_json:
        print_json(rows)
        return
    table = Table("key", "role", "private key")
    for row in rows:
        table.add_row(*row.values())
    print_rich_table(table)
    print_line(
        f"version {newest.keys.version}, trusted until {context.settings.format_day(newest.keys.expires)}; folder {folder}"
    )


@keys_app.command("rotate")
def rotate_command(
    root: Annotated[bool, typer.Option(help="Add a root key instead of a release key.")] = False,
    profile: Profile = None,
) -> None:
    """Add a new key beside the present ones, and sign the channels with all release keys. Needs a root key.

    Revoke the old key when apps had time to learn of the new one.
    """
    from habla_ml.release.keys import change_keys, open_signing
    from habla_ml.release.moves import renew_all_signatures
    from habla_ml.release.signing import generate_key, load_keys, save_key

    context, now = open_deployment(profile), datetime.now(UTC)
    store, folder = context.release_store, context.settings.keys_folder
    roots, new = load_keys(folder, "root"), generate_key()
    load_keys(folder, "release")  # a damaged one is reported before anything changes
    path = save_key(folder, "root" if root else "release", new)
    try:
        if root:
            changed = change_keys(store, roots, now, add_root=new)
        else:
            changed = change_keys(store, roots, now, add={new.key_id: new.public_text})
    except ReleaseError:
        path.unlink()  # refused: no document names the key
        raise
    renew_all_signatures(store, open_signing(context.settings, store, now), now)
    print_line(f"the new key is {path}; version {changed.keys.version} of the document of keys trusts it")


@keys_app.command("revoke")
def revoke_command(
    key: Annotated[str, typer.Argument(help="The id of the key, as `keys list` prints it.")], profile: Profile = None
) -> None:
    """Stop trusting a key, and sign the channels with the others. Needs a root key."""
    from habla_ml.release.keys import change_keys, open_signing
    from habla_ml.release.moves import renew_all_signatures
    from habla_ml.release.signing import load_keys

    context, now = open_deployment(profile), datetime.now(UTC)
    store, folder = context.release_store, context.settings.keys_folder
    load_keys(folder, "release")  # a damaged one is reported before anything changes
    changed = change_keys(store, load_keys(folder, "root"), now, revoke=[key])
    renew_all_signatures(store, open_signing(context.settings, store, now), now)
    print_line(f"version {changed.keys.version} of the document of keys no longer trusts {key}")


@keys_app.command("renew")
def renew_command(profile: Profile = None) -> None:
    """Renew the document of keys, which then expires later. Needs a root key."""
    from habla_ml.release.keys import change_keys
    from habla_ml.release.signing import load_keys

    context = open_deployment(profile)
    roots = load_keys(context.settings.keys_folder, "root")
    changed = change_keys(context.release_store, roots, datetime.now(UTC))
    print_line(
        f"version {changed.keys.version} of the document of keys is trusted until "
        f"{context.settings.format_day(changed.keys.expires)}"
    )
