"""`hub_model`: a released model version in a private repository of the Hugging Face Hub."""

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.partitions import RELEASE_OWNERS, model_versions
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.settings import Settings


def build_hub_model(settings: Settings, repository: str) -> dg.AssetsDefinition:
    """Return the asset, partitioned by model version, for the repository of the settings."""
    chosen = settings.release

    @dg.asset(
        partitions_def=model_versions,
        deps=["cdn_release"],
        group_name="releases",
        owners=RELEASE_OWNERS,
        kinds={"huggingface"},
        code_version=get_code_version("hub_model"),
        description=(
            f"The released version in the private repository {repository}: one commit with the checkpoint, the model for "
            "Habla and a model card, and then the version's tag. A repetition changes nothing. A version that was not "
            "released is not published."
        ),
    )
    def hub_model(context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource) -> dg.MaterializeResult:
        from habla_ml.hub.repository import open_repository
        from habla_ml.release.hub.publish import find_released_manifest, publish_hub_model

        version = context.partition_key
        manifest = find_released_manifest(cdn.store(), chosen.channel, version)
        if manifest is None:
            context.log.warning(f"{version} was not released on {chosen.channel}, so it does not go to the Hub")
            return dg.MaterializeResult(
                metadata=build_result_metadata(
                    f"{version} was not released, so that it is not in {repository}",
                    {"published": False},
                    "nothing: a version that is released later is published then",
                    details={"published": False},
                )
            )
        opened = open_repository(chosen.hub, repository)
        found = publish_hub_model(
            opened, lake.lake(), manifest, chosen.hub.ctranslate2, settings.work_folder, context.log.info
        )
        details = {
            "published": True,
            "tag": found.tag,
            "commit": found.commit,
            "release": manifest.version,
            "tag is new": found.is_new,
        }
        if found.ctranslate2_commit is not None:
            details["commit of the branch ctranslate2"] = found.ctranslate2_commit
        metadata = build_result_metadata(
            f"release {manifest.version} in the private repository {repository}",
            {"published": True, "tag": found.tag, "tag is new": found.is_new},
            "nothing: people with access to the repository download it from the page",
            page={"page": dg.MetadataValue.url(f"{opened.url}/tree/{found.tag}")},
            details=details,
        )
        return dg.MaterializeResult(data_version=dg.DataVersion(found.commit), metadata=metadata)

    return hub_model
