"""The export assets: a checkpoint in each format that is served or released."""

from typing import Any

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.partitions import MODEL_OWNERS, model_versions
from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.export.exporter import ExportAsset, Exporter, PublishedExport
from habla_ml.export.registry import list_asset_exporters
from habla_ml.lake import Lake, catalogue
from habla_ml.settings import Settings


def build_exports(settings: Settings) -> list[dg.AssetsDefinition]:
    """Build the asset of each format that has one and is enabled."""
    return [_build_export(settings, each, each.asset) for each in list_asset_exporters(settings.export) if each.asset]


def _build_export(settings: Settings, exporter: Exporter, facts: ExportAsset) -> dg.AssetsDefinition:
    @dg.asset(
        name=facts.name,
        partitions_def=model_versions,
        deps=["fine_tuned_checkpoint"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds=set(facts.kinds),
        code_version=get_code_version(facts.name),
        description=facts.description,
    )
    def export(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.export.publish import checkout_artefact, find_version_checkpoint, publish_export

        opened, version, work = lake.lake(), context.partition_key, settings.work_folder
        published = publish_export(
            opened,
            catalogue.EXPORT.name(version, exporter.name),
            exporter,
            find_version_checkpoint(opened, version, work),
            exporter.build_options(settings.export),
            work,
            context.log.info,
        )
        details = _build_details(opened, exporter, published, facts)
        next_step = "nothing: `wer_report` decodes a sample with it, and `cdn_release` publishes it"
        if facts.path_label is not None:
            details[facts.path_label] = checkout_artefact(opened, published.artefact, work)
            next_step = f"nothing: `wer_report` decodes with it; to try it in Habla, see `{facts.path_label}`"
        return dg.MaterializeResult(
            data_version=dg.DataVersion(published.artefact),
            metadata=build_result_metadata(
                f"{version} in the format {exporter.name}, {published.quantisation}",
                {"size": f"{published.size_bytes / 1e6:,.1f} MB", **facts.summarise(published)},
                next_step,
                details=details,
            ),
        )

    return export


def _build_details(lake: Lake, exporter: Exporter, published: PublishedExport, facts: ExportAsset) -> dict[str, Any]:
    details: dict[str, Any] = {
        "size MB": published.size_bytes / 1e6,
        "quantisation": published.quantisation,
        **facts.summarise(published),
        "repairs": table(({"what": each} for each in published.repairs), ["what"]),
        ("tree" if exporter.stored_as == "tree" else "sha256"): published.artefact,
        "checkpoint": published.checkpoint,
    }
    if "parity" in published.details:
        details["parity with the checkpoint"] = published.details["parity"]
    files = published.details.get("files")
    if exporter.stored_as == "tree":
        files = [vars(each) for each in lake.list_tree_files(published.artefact)]
    if files is not None:
        details["files"] = table(
            ({"path": each["path"], "size": f"{each['size_bytes'] / 1e6:,.2f} MB"} for each in files), ["path", "size"]
        )
    return details
