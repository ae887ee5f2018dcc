"""The errors of the project. A message has the thing, its value, the expected value and the next step."""


class HablaError(Exception):
    """Base class; the command line prints its message without a traceback."""


class SettingsError(HablaError):
    """A settings file, key or environment variable is wrong."""


class InputError(HablaError):
    """An input from outside (recording, table, transcript) is unusable."""


class ServiceError(HablaError):
    """Another server, such as Label Studio, is unreachable, refuses a request or sends an invalid response."""


class LakeError(HablaError):
    """The lake or release store is unwritable, full or without conditional writes."""


class ObjectMissingError(LakeError):
    """A named object or pointer target does not exist in the store."""


class PointerMovedError(LakeError):
    """A compare-and-set failed because the pointer moved since it was read."""


class CorpusError(HablaError):
    """The corpus, its conventions or its splits do not permit the next stage."""


class TrainingError(HablaError):
    """A training run cannot start, resume or finish."""


class ExportError(HablaError):
    """A checkpoint cannot be converted, or the converted artefact fails its verification."""


class EvaluationError(HablaError):
    """A comparison is impossible: no test set, no artefact or unequal sets."""


class ReleaseError(HablaError):
    """A release or rollback is refused, or the published files do not verify."""
