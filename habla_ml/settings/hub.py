"""Settings of the Hugging Face Hub."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from habla_ml.settings.base import EnvironmentVariable, SettingsSection

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LONGEST_NAME = 96
_ENDPOINT = r"^(https://[^\s/@]+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?)$"


def _require_hub_name(name: str) -> str:
    owner, _, own_name = name.partition("/")
    parts_fit = _NAME.fullmatch(owner) and _NAME.fullmatch(own_name)
    if not parts_fit or len(name) > _LONGEST_NAME or "--" in name or ".." in name or name.endswith(".git"):
        raise ValueError(
            f"expected owner/name of at most {_LONGEST_NAME} letters, digits and _.- without --, .., .git or a . or - at an "
            "end, as the Hub names repositories"
        )
    return name


HubName = Annotated[str, AfterValidator(_require_hub_name)]
"""Owner and name of a repository, such as `our-school/habla-andalusian`."""


class HubAccess(SettingsSection):
    """A private repository of a hub; without `repository` there is none.

    `token_variable` names the environment variable with a token that can write to the repository. `endpoint` is the
    address of another hub than huggingface.co, with TLS except on this machine.
    """

    key: ClassVar[str]
    """Where the section is in the settings."""

    repository: HubName | None = None
    token_variable: EnvironmentVariable = "HF_TOKEN"  # noqa: S105 (the name of a variable)
    endpoint: Annotated[str, Field(pattern=_ENDPOINT)] | None = None


class HubSettings(HubAccess):
    """The repository that gets the released models.

    `ctranslate2` is where the model for Habla goes: to the folder or to the branch of that name, or nowhere.
    """

    key = "release.hub"

    ctranslate2: Literal["folder", "branch", "none"] = "folder"


class HubDatasetSettings(HubAccess):
    """The repository that gets snapshots of the corpus, with voices, by `habla-ml export-dataset --push`.

    `licence` is stated on its card.
    """

    key = "corpus.hub_dataset"

    licence: Annotated[str, Field(min_length=1, max_length=60)] = "not to be passed on"
