"""`channel_signatures`: the signature of each channel, renewed on a schedule so that apps go on trusting it."""

from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.jobs import RENEW_SIGNATURES
from habla_ml.defs.partitions import RELEASE_OWNERS
from habla_ml.defs.presentation import link_service_page, table
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.defs.schedules import expect_each_time, request_occasion, schedule_job
from habla_ml.settings import Settings


def build_channel_signatures(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; each materialisation signs all channels that have a release."""
    days = settings.release.signature_days

    @dg.asset(
        group_name="releases",
        owners=RELEASE_OWNERS,
        kinds={"s3" if settings.release.store.url.startswith("s3://") else "file", "json"},
        code_version=get_code_version("channel_signatures"),
        freshness_policy=expect_each_time(settings.release.signature_cron, settings),
        description=(
            f"Renews the signature of each channel's present state, for {days} days. An app installs nothing after that time, so "
            "that nobody can hold it at an old state. The channel does not move, and no file of a release is written."
        ),
    )
    def channel_signatures(cdn: StoreResource) -> dg.MaterializeResult:
        from habla_ml.release.keys import open_signing
        from habla_ml.release.moves import renew_all_signatures

        now = datetime.now(UTC)
        signing = open_signing(settings, cdn.store(), now)
        renewed = renew_all_signatures(cdn.store(), signing, now)
        rows = [
            {"channel": each.channel, "version": each.version, "until": settings.format_day(each.expires_at)}
            for each in renewed
        ]
        return dg.MaterializeResult(
            metadata=build_result_metadata(
                "the signatures of the channels, renewed",
                {"channels": len(rows), "valid for": f"{days} days"},
                "nothing: the schedule `weekly_signatures` renews them again",
                page=link_service_page(settings, "/status"),
                details={
                    "channels": table(rows, ["channel", "version", "until"]),
                    "signed by": ", ".join(each.key_id for each in signing.keys),
                },
            )
        )

    return channel_signatures


def build_signature_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule `release.signature_cron`."""

    @schedule_job(
        RENEW_SIGNATURES,
        settings.release.signature_cron,
        settings,
        "Renews the signatures of the channels, so that apps go on trusting them.",
    )
    def weekly_signatures(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return request_occasion(RENEW_SIGNATURES, context)

    return weekly_signatures
