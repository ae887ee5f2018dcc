"""`ctranslate2_model` and `coreml_zip`: the checkpoint in the formats that are served."""

import dagster as dg

from habla_ml.defs.owners import MODEL_OWNERS
from habla_ml.defs.partitions import model_versions
from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.lake import catalogue
from habla_ml.settings import Settings


def build_ctranslate2_model(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset that Habla loads."""

    @dg.asset(
        partitions_def=model_versions,
        deps=["fine_tuned_checkpoint"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"ctranslate2"},
        code_version="1",
        description=(
            "The checkpoint as Habla loads it: a CTranslate2 folder with tokenizer and feature extractor inside, so "
            "that faster-whisper and WhisperX open it from its path alone."
        ),
    )
    def ctranslate2_model(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.export.publish import checkout_artefact, get_checkpoint_tree, publish_ctranslate2

        opened, version = lake.lake(), context.partition_key
        tree = get_checkpoint_tree(opened, version)
        made = publish_ctranslate2(
            opened,
            catalogue.EXPORT.name(version, "ctranslate2"),
            tree,
            checkout_artefact(opened, tree, settings.work_folder),
            settings.export.ctranslate2_quantisation,
            settings.work_folder,
            context.log.info,
        )
        folder = checkout_artefact(opened, made.tree, settings.work_folder)
        files = [{"file": each.path, "bytes": each.size_bytes} for each in opened.list_tree_files(made.tree)]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(made.tree),
            metadata={
                "size MB": round(made.size_bytes / 1e6, 3),
                "quantisation": made.quantisation,
                "files": table(files, ["file", "bytes"]),
                "set WHISPER_MODEL to": dg.MetadataValue.path(str(folder)),
                "repairs": table(({"what": each} for each in made.mended), ["what"]),
                "checkpoint": made.checkpoint,
            },
        )

    return ctranslate2_model


def build_coreml_zip(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset that phones download."""

    @dg.asset(
        partitions_def=model_versions,
        deps=["fine_tuned_checkpoint"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"coreml"},
        code_version="1",
        description=(
            "The checkpoint as a phone loads it: MelSpectrogram, AudioEncoder and TextDecoder to WhisperKit's "
            "contract, converted in a process of its own; the saved programs are read back, checked and executed "
            "against the checkpoint."
        ),
    )
    def coreml_zip(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.export.publish import publish_coreml

        opened = lake.lake()
        made = publish_coreml(
            opened,
            context.partition_key,
            {},
            settings.work_folder,
            settings.export.coreml_timeout_s,
            context.log.info,
        )
        parity = [{"measure": name, "value": value} for name, value in made.parity.items()]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(made.archive),
            metadata={
                "size MB": round(made.size_bytes / 1e6, 3),
                "format": made.model_format,
                "must be compiled by the app": made.model_format == "mlpackage",
                "WhisperKit reads this vocabulary": made.has_whisperkit_vocab_size,
                "encoder PSNR dB": float(made.parity["encoder_psnr_db"]),
                "parity with the checkpoint": table(parity, ["measure", "value"]),
                "files": table(({"file": f.path, "bytes": f.size_bytes} for f in made.files), ["file", "bytes"]),
                "sha256": made.archive,
                "checkpoint": made.checkpoint,
            },
        )

    return coreml_zip
