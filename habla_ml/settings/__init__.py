"""The typed settings, read from a profile and environment variables."""

from habla_ml.settings.data import (
    CorpusSettings,
    LabelStudioSettings,
    QualitySettings,
    ReviewSettings,
    ReviewWeights,
    SpeechSource,
    SplitSettings,
    StoreSettings,
)
from habla_ml.settings.files import configs_folder, load_settings, save_settings
from habla_ml.settings.models import (
    AcceptableSettings,
    AdviceSettings,
    EvaluationSettings,
    PromotionSettings,
    ReleaseSettings,
    TrainingSettings,
)
from habla_ml.settings.sections import DEFAULT_PROFILE, AutomationSettings, Settings, format_command

__all__ = [
    "DEFAULT_PROFILE",
    "AcceptableSettings",
    "AdviceSettings",
    "AutomationSettings",
    "CorpusSettings",
    "EvaluationSettings",
    "LabelStudioSettings",
    "PromotionSettings",
    "QualitySettings",
    "ReleaseSettings",
    "ReviewSettings",
    "ReviewWeights",
    "Settings",
    "SpeechSource",
    "SplitSettings",
    "StoreSettings",
    "TrainingSettings",
    "configs_folder",
    "format_command",
    "load_settings",
    "save_settings",
]
