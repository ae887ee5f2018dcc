"""The model card: what a stranger must know before using the model. It names no person and no path of a machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from habla_ml.hub.licences import name_licence
from habla_ml.release.manifest import MeasuredRate, ModelReference, ReleaseManifest
from habla_ml.training.record import TrainingRecord

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_LIMITS: Final = """## Limits

- The model was trained and tested on few classrooms. Measure it on your own speech before you rely on it.
- It can write words that no one said, most often in noise and silence. It can leave words out.
- Error rates differ between speakers. Do not use its text for marks or decisions about a person without listening.
- Its text follows the conventions above, for example for numbers, hesitations and dialect words."""
_CONSENT: Final = """## Voices and consent

The repository has no voices: no recordings, no transcripts and no names, only weights and settings. The weights come from
the voices of people in class. A model can repeat phrases of its training speech, so the repository is private. If a person
withdraws the consent, delete the versions that were trained with that voice; the project that made them lists these."""


def build_model_card(
    manifest: ReleaseManifest, record: TrainingRecord, ctranslate2: Literal["folder", "branch", "none"]
) -> str:
    """Return the card as Markdown with a YAML header for the Hub.

    Args:
        manifest: The release.
        record: How its checkpoint was trained.
        ctranslate2: Where the repository has the model for Habla.
    """
    title = f"# {manifest.model_id} {manifest.model_version}"
    about = (
        "Whisper, fine-tuned on Andalusian Spanish as it is spoken in class. Release "
        f"{manifest.version} of {manifest.created:%Y-%m-%d}, licence {manifest.licence}."
    )
    if manifest.override is not None:
        about += " A person released it although the rule for releases refused it."
    sections = (
        title,
        about,
        "\n".join(_write_quality(manifest)),
        "\n".join(_write_data(manifest, record)),
        "\n".join(_write_training(manifest, record)),
        _LIMITS,
        _CONSENT,
        "\n".join(_write_usage(manifest, ctranslate2)),
    )
    header = _build_header(manifest, ctranslate2).to_yaml().strip()
    return "\n".join(("---", header, "---", "", "\n\n".join(sections), ""))


def _build_header(manifest: ReleaseManifest, ctranslate2: str) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    licence, licence_name = name_licence(manifest.licence)
    evaluation = manifest.evaluation
    wer = EvalResult(
        task_type="automatic-speech-recognition",
        dataset_type="private",
        dataset_name=f"Classroom test set {evaluation.test_set[:12]}",
        metric_type="wer",
        metric_name="WER in %",
        metric_value=round(100 * evaluation.wer.value, 2),
    )
    tags = ["whisper", "andalusian", "habla"] + (["ctranslate2"] if ctranslate2 != "none" else [])
    base = manifest.base_model
    return ModelCardData(
        language="es",
        license=licence,
        license_name=licence_name,
        library_name="transformers",
        pipeline_tag="automatic-speech-recognition",
        tags=tags,
        base_model=base.name if base.revision is not None else None,
        metrics=["wer"],
        model_name=f"{manifest.model_id} {manifest.model_version}",
        eval_results=[wer],
    )


def _write_quality(manifest: ReleaseManifest) -> Iterator[str]:
    evaluation = manifest.evaluation
    yield "## Measured quality"
    yield ""
    yield "| | WER | 95 % interval |"
    yield "|---|---|---|"
    yield f"| this model, classroom | {_format_rate(evaluation.wer)} |"
    yield f"| base model, classroom | {_format_rate(evaluation.base_wer)} |"
    if evaluation.out_of_domain_wer is not None:
        yield f"| this model, general Spanish | {_format_rate(evaluation.out_of_domain_wer)} |"
    yield f"| fewer errors than the base model | {_format_rate(evaluation.relative_improvement)} |"
    yield ""
    yield (
        f"The test set has {evaluation.test_sessions} sessions with {evaluation.test_words} words, and no training read them. "
        "Intervals are over whole sessions. Measured is the model for Habla, as Habla serves it."
    )


def _write_data(manifest: ReleaseManifest, record: TrainingRecord) -> Iterator[str]:
    yield "## Training data"
    yield ""
    yield f"- {record.train_hours:.2f} hours of corrected classroom speech, {record.train_clips} clips."
    yield f"- Conventions of the text: {manifest.evaluation.conventions}."
    yield f"- Snapshot of the corpus: `{manifest.training.snapshot[:12]}`."
    if record.non_speech_clips:
        yield f"- {record.non_speech_clips} clips without speech."
    first = () if record.first_stage is None else record.first_stage.general_speech
    for each in (*first, *record.general_speech):
        origin, licence = each.origin or "not stated", each.licence or "not stated"
        yield f"- {each.hours:.2f} hours of general Spanish; origin: {origin}; licence: {licence}."


def _write_training(manifest: ReleaseManifest, record: TrainingRecord) -> Iterator[str]:
    first = record.first_stage
    minutes = (record.wall_s + (0.0 if first is None else first.wall_s)) / 60
    yield "## Training"
    yield ""
    yield f"- Base model: {_format_base(manifest.base_model)}."
    if record.start is not None:
        version = record.start.model_version or "a model"
        yield f"- Continued from {version}, {record.start.repository} at `{record.start.revision}`; its voices count here too."
    yield f"- Recipe `{record.recipe}`, {record.steps} steps, {record.processed_hours:.1f} hours of audio processed."
    yield f"- Training time: {minutes:.0f} minutes on {record.device}, {record.precision}. Energy was not measured."
    yield f"- Checkpoint `{manifest.training.checkpoint[:12]}`, training `{manifest.training.identity[:12]}`."


def _write_usage(manifest: ReleaseManifest, ctranslate2: str) -> Iterator[str]:
    version = manifest.model_version
    yield "## Load it"
    yield ""
    yield "The repository is private: set `HF_TOKEN` first, and write the name of this repository for `REPOSITORY`."
    yield ""
    yield "```python"
    yield "from transformers import pipeline"
    yield ""
    yield f'recognise = pipeline("automatic-speech-recognition", "REPOSITORY", revision="{version}")'
    yield 'recognise("clip.wav", generate_kwargs={"language": "es", "task": "transcribe"})'
    if ctranslate2 != "none":
        yield "```"
        yield ""
        yield "For Habla, faster-whisper and WhisperX:"
        yield ""
        yield "```python"
        yield "from faster_whisper import WhisperModel"
        yield "from huggingface_hub import snapshot_download"
        yield ""
        if ctranslate2 == "folder":
            arguments, path = f'revision="{version}", allow_patterns="ctranslate2/*"', 'folder + "/ctranslate2"'
        else:
            arguments, path = f'revision="{version}-ctranslate2"', "folder"
        yield f'folder = snapshot_download("REPOSITORY", {arguments})'
        yield f"model = WhisperModel({path})"
    yield "```"


def _format_rate(rate: MeasuredRate) -> str:
    return f"{rate.value:.1%} | {rate.low:.1%} to {rate.high:.1%}"


def _format_base(base: ModelReference) -> str:
    if base.revision is not None:
        return f"{base.name}, revision `{base.revision}`"
    digest = "" if base.digest is None else f", digest `{base.digest[:12]}`"
    return f"{base.name}, which is on no hub{digest}"
