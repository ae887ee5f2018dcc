"""`habla-ml hub`: the versions in the private repository of the Hub."""

from __future__ import annotations

from habla_ml.api import open_deployment
from habla_ml.cli.context import AsJson, print_json, print_line
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import SettingsError


def hub_command(as_json: AsJson = False, profile: Profile = None) -> None:
    """List the versions in release.hub.repository with their commits, for `start` in a recipe."""
    from habla_ml.hub.repository import open_repository
    from habla_ml.training.start import list_hub_versions

    settings = open_deployment(profile).settings
    name = settings.release.hub.repository
    if name is None:
        raise SettingsError(
            "release.hub.repository is not set, so no version goes to the Hub; set it as docs/hub.md says"
        )
    repository = open_repository(settings.release.hub, name)
    versions = list_hub_versions(repository)
    if as_json:
        print_json({"repository": repository.url, "versions": versions})
        return
    print_line(f"{repository.url}: {len(versions)} versions")
    for version, commit in versions.items():
        print_line(f"{version}  {commit}")
    if versions:
        print_line("To continue from the newest one, set training.continue_from: newest")
