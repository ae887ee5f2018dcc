"""The project's own errors: a few classes, each naming whose move is next.

A message holds the thing, its value, the bound it broke and the next step.
"""


class HablaError(Exception):
    """Whatever habla_ml refuses on purpose; the command line prints it without a traceback."""


class SettingsError(HablaError):
    """A settings file, key or environment variable is wrong; the message names file, key and expectation."""


class InputError(HablaError):
    """Something that came from outside (a recording, a table, a transcript) cannot be used as it is."""


class ServiceError(HablaError):
    """A server beside us (Label Studio) cannot be reached, refuses, or answers what makes no sense."""


class LakeError(HablaError):
    """The lake or release store cannot do what it must: unwritable, full, or without conditional writes."""


class ObjectMissingError(LakeError):
    """A named object or pointer target does not exist in the store."""


class PointerMovedError(LakeError):
    """A compare-and-set lost: somebody moved the pointer since it was read."""


class CorpusError(HablaError):
    """The corpus, its conventions or its splits do not permit the next stage."""


class TrainingError(HablaError):
    """A training run cannot start, resume or finish."""


class ExportError(HablaError):
    """A checkpoint cannot be converted, or the converted artefact fails its verification."""


class EvaluationError(HablaError):
    """A comparison cannot be made: no test set, no artefact, unequal sets."""


class ReleaseError(HablaError):
    """A release or rollback is refused, or the published files do not verify."""
