"""One typed tree of settings, and how it is read from a profile and the environment."""

from habla_ml.settings.data import (
    AnnotationSettings,
    ConsentSettings,
    CorpusSettings,
    LabelStudioSettings,
    QualitySettings,
    RecordingsSettings,
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
    AlertSettings,
    EmailSettings,
    EvaluationSettings,
    ExportSettings,
    MonitoringSettings,
    PromotionSettings,
    ReleaseSettings,
    TrainingSettings,
)
from habla_ml.settings.sections import AutomationSettings, Settings

__all__ = [
    "AcceptableSettings",
    "AdviceSettings",
    "AlertSettings",
    "AnnotationSettings",
    "AutomationSettings",
    "ConsentSettings",
    "CorpusSettings",
    "EmailSettings",
    "EvaluationSettings",
    "ExportSettings",
    "LabelStudioSettings",
    "MonitoringSettings",
    "PromotionSettings",
    "QualitySettings",
    "RecordingsSettings",
    "ReleaseSettings",
    "ReviewSettings",
    "ReviewWeights",
    "Settings",
    "SpeechSource",
    "SplitSettings",
    "StoreSettings",
    "TrainingSettings",
    "configs_folder",
    "load_settings",
    "save_settings",
]
