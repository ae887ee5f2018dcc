"""`habla-ml update-model`: the released model on a machine that serves it, such as Habla's."""

from __future__ import annotations

import os
import uuid
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from habla_ml.cli.context import print_line, print_progress
from habla_ml.errors import InputError

_ANY_APP_VERSION = "999999999"
"""A minimum version is one of an app on a phone."""


def update_model_command(
    address: Annotated[str, typer.Argument(help="Of the CDN, like https://models.example.org.")],
    folder: Annotated[Path, typer.Argument(help="For the models; FOLDER/current leads to the present one.")],
    keys: Annotated[
        Path, typer.Option(help="keys/000001.json of the release store, which the operator gave you.", dir_okay=False)
    ],
    platform: Annotated[
        str, typer.Option(help="habla, or another archive of the release, such as onnx or ios.")
    ] = "habla",
    channel: Annotated[str, typer.Option(help="stable or beta.")] = "stable",
) -> None:
    """Install the newest model of a channel, if the keys that you trust signed it.

    Needs no settings and no account. Call it from a timer. An interrupted download goes on at the next call, a call while another
    one works ends with an error, and at every moment FOLDER/current is a complete model.
    """
    from habla_ml.client.model_updates import ModelUpdater, UpdateClient

    try:
        shipped = keys.read_bytes()
    except OSError as error:
        raise InputError(
            f"{keys} cannot be read ({error.strerror}); copy keys/000001.json of the release store there"
        ) from error
    client = UpdateClient(_read_installation(folder), _ANY_APP_VERSION, platform, channel)
    with closing(ModelUpdater(address, folder, client, shipped)) as updater:
        before, offer = updater.state.current, updater.check()
        if offer is not None:
            print_progress(f"{offer.statement.version}: {offer.archive.size_bytes / 1e6:.1f} MB")
            updater.install(offer)
        current = updater.state.current
        if updater.model_folder is None or current is None:
            raise InputError(
                f"channel {channel} offers no model for {platform!r} to this machine yet; `habla-ml releases` lists its "
                "archives"
            )
        link = _point_to(folder / "current", updater.model_folder)
    print_line(f"{current.version} {'stays' if before == current else 'is installed'}: {link}")


def _read_installation(folder: Path) -> str:
    """Return the random id of this installation, which decides when a gradual rollout reaches it."""
    path = folder / "installation"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            unfinished = path.with_name(f".{path.name}")
            unfinished.write_text(uuid.uuid4().hex, "ascii")
            unfinished.replace(path)
        return path.read_text("ascii")
    except OSError as error:
        raise InputError(f"the folder of models {folder} cannot be used ({error.strerror})") from error


def _point_to(link: Path, target: Path) -> Path:
    """Let the symbolic link lead to the folder, in one step; return it."""
    relative = Path(os.path.relpath(target, link.parent))
    if not link.is_symlink() or link.readlink() != relative:
        unfinished = link.with_name(f".{link.name}")
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(relative)
        unfinished.replace(link)
    return link
