"""Decoding options: everything besides model and audio that can change a hypothesis. The defaults are Habla's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from habla_ml.errors import EvaluationError
from habla_ml.lake import compute_digest
from habla_ml.transcription.registry import ENGINES, HOSTED_SERVICES

REPEATED_ATTEMPT_OPTIONS: Final = frozenset(
    {"timestamps", "fallback_temperatures", "best_of", "first_token_log_prob_threshold"}
)
"""Options of engines that decode one clip in several windows and attempts."""


def _check_name(name: str, known: Collection[str]) -> str:
    if name not in known:
        # A ValueError would put pydantic's "Value error" in front of the message.
        raise PydanticCustomError("unknown_name", f"{name!r} does not exist; choose one of {', '.join(sorted(known))}")
    return name


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Wall time that one clip may take; a clip that takes longer counts as a timeout and as an empty text."""

    def digest(self) -> str:
        """Return the sha256 of the options, under which hypotheses are cached."""
        return compute_digest(self.model_dump(mode="json"))


class DecodingOptions(_Options):
    """Options of a local engine. An engine refuses an option that it does not support and that is set."""

    engine: Annotated[str, AfterValidator(partial(_check_name, known=ENGINES))] = "faster-whisper"
    beam_size: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """None: one clip at a time on a CPU, where a batch costs memory and saves no time; 16 on a GPU."""
    language: str = "es"
    task: Literal["transcribe", "translate"] = "transcribe"
    temperature: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[float, Field(gt=0)] = 1.0
    length_penalty: float = 1.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] = 0
    no_speech_threshold: float | None = 0.6
    """Above it, a hypothesis whose average log-probability is not above `log_prob_threshold` counts as silence."""
    log_prob_threshold: float | None = -1.0
    compression_ratio_threshold: float | None = None
    """Above it, a text is a repetition loop and becomes empty; None keeps loops."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    word_times: bool = False
    """Whether words have start and end times."""
    vad: bool = False
    """Decode only from the start of the first speech in a clip to the end of the last; a clip without speech is empty."""
    timestamps: bool = False
    """Whether the model writes timestamp tokens. They decide where the rest of a clip is decoded again."""
    fallback_temperatures: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Temperatures of the next attempts, while a text does not pass the thresholds of log-probability and repetition."""
    best_of: Annotated[int, Field(ge=1)] = 1
    """Texts drawn at a temperature above 0; the most probable one counts."""
    first_token_log_prob_threshold: float | None = None
    """Below it, the first token of a text is a reason for the next temperature."""

    def digest(self) -> str:
        """Return the sha256 of the options and of the engine's rules, under which hypotheses are cached."""
        rules = ENGINES[self.engine].rules
        return compute_digest({**self.model_dump(mode="json"), **({"rules": rules} if rules > 1 else {})})

    def check_supported(self, supported: Collection[str]) -> None:
        """Refuse options that an engine would silently ignore; every engine applies `engine` and `clip_timeout_s`.

        Raises:
            EvaluationError: A field that is not supported is not at its default.
        """
        applied = {*supported, "engine", "clip_timeout_s"}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name not in applied and value != field.default:
                raise EvaluationError(
                    f"engine {self.engine} does not support the option {name} (set to {value!r}); leave it at "
                    f"{field.default!r}, or choose another engine. It supports {', '.join(sorted(supported))}"
                )


def select_supported(engine: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `wanted` that the engine applies, with the name of the engine."""
    applied = {*ENGINES[engine].load().supported_options, "clip_timeout_s"}
    return {**{name: value for name, value in wanted.items() if name in applied}, "engine": engine}


class HostedOptions(_Options):
    """Options of a hosted service. Its price is in the settings, because it changes no text."""

    engine: Annotated[str, AfterValidator(partial(_check_name, known=HOSTED_SERVICES))]
    language: str = "es-ES"
    model: str | None = None
    """The service's name of a model; None is the service's default."""


def _get_options_kind(value: Any) -> str:
    engine = value.get("engine") if isinstance(value, Mapping) else getattr(value, "engine", None)
    return "hosted" if engine in HOSTED_SERVICES else "local"


EngineOptions = Annotated[
    Annotated[DecodingOptions, Tag("local")] | Annotated[HostedOptions, Tag("hosted")],
    Discriminator(_get_options_kind),
]
"""Options of either kind; the name of the engine decides which."""
