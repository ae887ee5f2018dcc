"""`cdn_release`: judged again from stored evidence, published, and the channel's pointer swapped last."""

from functools import partial

import dagster as dg

from habla_ml.defs.owners import RELEASE_OWNERS
from habla_ml.defs.partitions import model_versions
from habla_ml.defs.presentation import link_or_path, table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings


def build_cdn_release(settings: Settings) -> dg.AssetsDefinition:
    """The asset, cut by model version."""

    @dg.asset(
        partitions_def=model_versions,
        deps=["wer_report", "coreml_zip", "ctranslate2_model"],
        group_name="releases",
        owners=RELEASE_OWNERS,
        kinds={"s3" if settings.release.store.url.startswith("s3://") else "file", "zip"},
        code_version="1",
        description=(
            f"The version on the CDN: archives and manifest under immutable names, read back and verified, then "
            f"channels/{settings.release.channel}/latest.json swapped. The promotion rule is computed again from the "
            "stored evidence; a refused candidate is a normal outcome and publishes nothing."
        ),
    )
    def cdn_release(
        context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.evaluation.promotion.rule import decide
        from habla_ml.release.candidate import collect_candidate
        from habla_ml.release.gate import check_gate
        from habla_ml.release.publish import publish_release

        opened, version = lake.lake(), context.partition_key
        gate = check_gate(opened, version, partial(decide, settings=settings.promotion))
        why = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in gate.reasons))
        if not gate.is_allowed:
            context.log.warning(f"{version} is not released: {' '.join(gate.reasons)}")
            return dg.MaterializeResult(metadata={"released": False, "why": why})
        candidate = collect_candidate(opened, gate, settings.release, settings.work_folder)
        release = publish_release(
            cdn.store(),
            settings.release.public_url,
            settings.release.channel,
            candidate.draft,
            candidate.files,
            work_folder=settings.work_folder,
        )
        archives = [vars(each) for each in candidate.draft.archives]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(release.sha256),
            metadata={
                "released": True,
                "why": why,
                "version": release.version,
                "channel": release.channel,
                "stands on the channel": release.is_current,
                "url": link_or_path(release.url if settings.release.public_url else release.location),
                "size MB": round(release.size_bytes / 1e6, 3),
                "sha256": release.sha256,
                "archives": table(archives, ["label", "format", "quantisation", "artefact"]),
                "replaces": release.replaces or "nothing",
                "manifest": release.manifest_key,
            },
        )

    return cdn_release
