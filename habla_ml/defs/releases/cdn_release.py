"""`cdn_release`: a model version on the CDN, after the promotion rule is computed again."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.code_identity import read_code_identity
from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.partitions import RELEASE_OWNERS, model_versions
from habla_ml.defs.presentation import bullet_list, link_or_path, link_service_page, name_lineage, table
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.export.registry import list_asset_exporters
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.release.manifest import ReleaseDraft
    from habla_ml.release.published import PublishedRelease
    from habla_ml.release.signing import Signing


def build_cdn_release(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset, partitioned by model version."""
    chosen = settings.release

    @dg.asset(
        partitions_def=model_versions,
        deps=["wer_report", *(each.asset_name for each in list_asset_exporters(settings.export))],
        group_name="releases",
        owners=RELEASE_OWNERS,
        kinds={"s3" if chosen.store.url.startswith("s3://") else "file", "zip"},
        code_version=get_code_version("cdn_release"),
        description=(
            "The version on the CDN: archives and manifest under immutable names, read back and verified, then "
            f"channels/{chosen.channel}/latest.json is replaced. The promotion rule is computed again from the stored "
            "evidence. A candidate that it accepts is scored on the sealed sessions, once for each version. A refused "
            "candidate is a normal outcome and publishes nothing."
        ),
    )
    def cdn_release(context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource) -> dg.MaterializeResult:
        from habla_ml.evaluation.promotion.rule import decide
        from habla_ml.release.candidate import collect_candidate
        from habla_ml.release.channel import Delivery
        from habla_ml.release.gate import check_gate
        from habla_ml.release.keys import open_signing
        from habla_ml.release.publish import publish_release
        from habla_ml.release.sealed import check_with_sealed_share
        from habla_ml.release.stale_evidence import read_present_state

        opened, version = lake.lake(), context.partition_key
        present = read_present_state(opened, cdn.store(), settings, version)
        check = partial(check_gate, opened, version, partial(decide, settings=settings.promotion), present)
        gate = check_with_sealed_share(check, opened, settings, context.log.info)
        why = bullet_list(gate.reasons)
        if not gate.is_allowed:
            context.log.warning(f"{version} is not released: {' '.join(gate.reasons)}")
            return dg.MaterializeResult(metadata=_describe_refusal(settings, version, why))
        draft, files = collect_candidate(opened, gate, chosen, settings.work_folder)
        delivery = Delivery(minimum_app_version=chosen.minimum_app_version, rollout_percent=chosen.rollout_percent)
        where = (cdn.store(), chosen.public_url, chosen.channel)
        signing = open_signing(settings, cdn.store(), datetime.now(UTC))
        release = publish_release(
            *where, draft, files, work_folder=settings.work_folder, delivery=delivery, signing=signing
        )
        details = {
            "released": True,
            "why": why,
            **_list_details(settings, release, signing),
            **name_lineage(settings, release.version),
            **_describe_ancestors(draft),
            "archives": table(map(vars, draft.archives), ["label", "format", "quantisation", "artefact"]),
        }
        return dg.MaterializeResult(
            data_version=dg.DataVersion(release.manifest_sha256),
            metadata=_describe_release(settings, version, release, details),
        )

    return cdn_release


def _describe_refusal(settings: Settings, version: str, why: dg.MetadataValue) -> dict[str, dg.MetadataValue]:
    return build_result_metadata(
        f"{version} was not released to the channel {settings.release.channel}",
        {"released": False},
        "read why; correct more speech for the next version, or sign an override (docs/decide.md)",
        page=link_service_page(settings, f"/reports/{version}"),
        details={"released": False, "why": why, **name_lineage(settings, version)},
    )


def _describe_release(
    settings: Settings, version: str, release: "PublishedRelease", details: dict[str, Any]
) -> dict[str, dg.MetadataValue]:
    return build_result_metadata(
        f"{version} as release {release.version} on the channel {release.channel}",
        {
            "released": True,
            "current on the channel": release.is_current,
            "size": f"{sum(each.size_bytes for each in release.models.values()) / 1e6:,.1f} MB",
            "replaces": release.replaces or "nothing",
        },
        "nothing: apps install it by themselves"
        + (f"; `{settings.command('rollback')}` returns to the one before" if release.replaces else ""),
        page=link_service_page(settings, "/status"),
        details=details,
    )


def _describe_ancestors(draft: "ReleaseDraft") -> dict[str, Any]:
    return {
        "checkpoint": draft.training.checkpoint,
        "training record": draft.training.record,
        "snapshot of the training": draft.training.snapshot,
        "snapshot of the test": draft.evaluation.snapshot,
        "comparison": draft.evaluation.comparison,
        "code of the training": "; ".join(map(str, draft.training.code)) or "unknown",
        "code of the release": str(read_code_identity()),
    }


def _list_details(settings: Settings, release: "PublishedRelease", signing: "Signing") -> dict[str, Any]:
    is_public = settings.release.public_url is not None
    places = {
        f"for {platform}": link_or_path(each.url if is_public else release.locations[platform])
        for platform, each in release.models.items()
    }
    return {
        "version": release.version,
        "channel": release.channel,
        "current on the channel": release.is_current,
        **places,
        "size MB": sum(each.size_bytes for each in release.models.values()) / 1e6,
        "signed by": ", ".join(each.key_id for each in signing.keys),
        "signature expires": dg.MetadataValue.timestamp(release.expires_at),
        "replaces": release.replaces or "nothing",
        "manifest": release.manifest_key,
    }
