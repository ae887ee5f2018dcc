"""Releases to the CDN."""

import dagster as dg

from habla_ml.defs.releases.cdn_release import build_cdn_release
from habla_ml.defs.releases.channel_signatures import build_channel_signatures, build_signature_schedule
from habla_ml.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Return the definitions of releases."""
    return dg.Definitions(
        assets=[build_cdn_release(settings), build_channel_signatures(settings)],
        schedules=[build_signature_schedule(settings)],
    )
