"""Releases to the CDN, and to the Hub."""

import dagster as dg

from habla_ml.defs.releases.cdn_release import build_cdn_release
from habla_ml.defs.releases.channel_signatures import build_channel_signatures, build_signature_schedule
from habla_ml.defs.releases.hub_model import build_hub_model
from habla_ml.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Return the definitions of releases; those of the Hub only where a repository is set."""
    repository = settings.release.hub.repository
    on_hub = [] if repository is None else [build_hub_model(settings, repository)]
    return dg.Definitions(
        assets=[build_cdn_release(settings), build_channel_signatures(settings), *on_hub],
        schedules=[build_signature_schedule(settings)],
    )
