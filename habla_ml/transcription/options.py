"""What can change the text of a hypothesis besides the model and the audio; the defaults are Habla's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from habla_ml.errors import EvaluationError
from habla_ml.lake import compute_digest

LocalEngine = Literal["faster-whisper", "faster-whisper-batched", "transformers", "whisper.cpp", "whisperx"]
HostedEngine = Literal["google", "aws", "azure", "deepgram"]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Wall time that one clip may take; a clip that takes longer is recorded, and scored, as a timeout."""

    def digest(self) -> str:
        """sha256 of the options; hypotheses are cached under it."""
        return compute_digest(self.model_dump(mode="json"))


class DecodingOptions(_Options):
    """How a Whisper of our own is decoded. An engine refuses an option that it does not know and that is set."""

    engine: LocalEngine = "faster-whisper"
    beam_size: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """None: one clip at a time on a CPU, where a batch gains nothing and costs memory; 16 on a GPU."""
    language: str = "es"
    task: Literal["transcribe", "translate"] = "transcribe"
    temperature: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[float, Field(gt=0)] = 1.0
    length_penalty: float = 1.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] = 0
    no_speech_threshold: float | None = 0.6
    """Above it, a hypothesis whose average log-probability is below the next bound counts as silence."""
    log_prob_threshold: float | None = -1.0
    compression_ratio_threshold: float | None = None
    """Above it, a text repeats itself and counts as nothing heard; None: a loop is shown as it is."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    word_times: bool = False
    """Whether words get their times."""

    def check_supported(self, known: Collection[str]) -> None:
        """Refuse what an engine would pass over in silence.

        Args:
            known: The fields that the engine heeds; `engine` and `clip_timeout_s` are for all.

        Raises:
            EvaluationError: Another field is not at its default.
        """
        heeded = {*known, "engine", "clip_timeout_s"}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name not in heeded and value != field.default:
                raise EvaluationError(
                    f"engine {self.engine} does not know the option {name} (set to {value!r}); leave it at "
                    f"{field.default!r}, or choose another engine. It knows {', '.join(sorted(known))}"
                )


class HostedOptions(_Options):
    """How a service elsewhere is asked. Its price changes no text and stands in the settings."""

    engine: HostedEngine
    language: str = "es-ES"
    model: str | None = None
    """The service's own name of its model; None is the service's default."""


EngineOptions = Annotated[DecodingOptions | HostedOptions, Field(discriminator="engine")]
