"""`habla-ml override` …: what a person decides about model versions from a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from habla_ml.errors import ReleaseError
from habla_ml.settings import load_settings

console = Console()


def override_command(
    version: Annotated[str, typer.Argument(help="A model version that the rule refuses, like v3.")],
    by: Annotated[str, typer.Option(help="Your name; it is stored and published with the release.")],
    reason: Annotated[str, typer.Option(help="Why it shall be released all the same, in a sentence.")],
    profile: Annotated[str | None, typer.Option("--profile", "-p")] = None,
) -> None:
    """Sign that a refused version may be released; it holds for the evidence as it stands now."""
    from habla_ml.evaluation.promotion import decide
    from habla_ml.lake.open import open_lake
    from habla_ml.release.override import sign_override

    settings = load_settings(profile)
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    rule = partial(decide, settings=settings.promotion)
    try:
        signed = sign_override(lake, version, by, reason, datetime.now(UTC), rule)
    except ValidationError as error:
        faults = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise ReleaseError(f"nothing was signed ({faults}); a decision needs a name and a sentence why") from error
    console.print(signed.sentence(), highlight=False)
    console.print("The rule had said:", highlight=False)
    for each in signed.against:
        console.print(f"- {each}", highlight=False)
    console.print(f"Materialise `cdn_release` for {version} to release it.", highlight=False)
