"""What each kind of pointer holds, which of its keys name objects that must exist, and how its content is made again.

A value also has other sha256: of sounds, of settings, and of snapshots that an erasure deleted. These are not listed
here, because the lake is whole without an object of that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from habla_ml.lake import catalogue
from habla_ml.lake.catalogue import PointerFamily

_FROM_HABLA: Final = "materialise raw_recordings of that day while Habla still has its recordings"
_CORRECTIONS_AGAIN: Final = (
    "delete the pointer and materialise annotated_corpus of that day; corrections that Habla, the tables, Label Studio and "
    "the service still have are read again"
)
_NOTHING_BRINGS_BACK: Final = "nothing else has it"


@dataclass(frozen=True)
class PointerKind:
    """The pointers of one family, or a single one."""

    names: PointerFamily | str
    content: str
    """What is lost where an object is missing; the start of a sentence."""
    next_step: str
    """How to make the content again where no backup has it."""
    objects: tuple[str, ...] = ()
    """Keys whose objects must exist; a key can be absent in an older lake, and its value can be null."""
    tables: tuple[str, ...] = ()
    """Further keys, whose objects are parquet tables."""

    def has(self, name: str) -> bool:
        """Return whether a pointer of this name is of this kind."""
        return self.names == name if isinstance(self.names, str) else self.names.parts(name) is not None


POINTER_KINDS: Final = (
    PointerKind(
        catalogue.RECORDINGS, "the audio of a day", _FROM_HABLA, ("set_aside", "raw_streams"), ("parquet", "facts")
    ),
    PointerKind(catalogue.ANNOTATIONS, "the corrections of a day", _CORRECTIONS_AGAIN, ("set_aside",), ("parquet",)),
    PointerKind(catalogue.CORPUS, "the text of a day", "materialise annotated_corpus of that day", tables=("parquet",)),
    PointerKind(
        catalogue.TABLES,
        "what an imported table contributed",
        "delete the pointer; the next tick imports the table again",
        ("set_aside",),
        ("known_clips",),
    ),
    PointerKind(
        catalogue.FINGERPRINTS,
        "the fingerprints of a day's sounds",
        "delete the pointer and materialise splits, which computes them again",
        tables=("parts",),
    ),
    PointerKind(
        catalogue.LABEL_STUDIO_PUSHED,
        "the list of tasks in Label Studio",
        "delete the pointer; the next push finds the tasks on the server again",
        ("batches", "shared"),
    ),
    PointerKind(
        catalogue.LABEL_STUDIO_PULLED,
        "the state of the last pull from Label Studio",
        "delete the pointer; the next pull reads the project again",
        ("set_aside", "recent"),
    ),
    PointerKind(
        catalogue.PLAN,
        "the plan of a model version",
        f"{_NOTHING_BRINGS_BACK}; the version cannot be trained again, train a new one",
        ("recipe", "snapshot"),
    ),
    PointerKind(
        catalogue.CHECKPOINT,
        "the checkpoint of a model version",
        "take it from the Hub (habla-ml hub), or delete the pointer and materialise fine_tuned_checkpoint of that version",
        ("record", "tree"),
    ),
    PointerKind(
        catalogue.REPORT,
        "the WER report of a model version",
        "materialise wer_report of that version",
        ("comparison", "html", "markdown"),
        ("utterances", "word_errors"),
    ),
    PointerKind(
        catalogue.OVERRIDE,
        "the signed decision to release a version",
        "sign it again: habla-ml override",
        ("override",),
    ),
    PointerKind(
        catalogue.SEALED_RESULT,
        "the only result of a version on the sealed sessions",
        f"{_NOTHING_BRINGS_BACK}, and it must not be measured twice; train a new version",
        ("result",),
    ),
    PointerKind(
        catalogue.EXPORT,
        "an exported model of a version",
        "delete the pointer and materialise the export of that version",
        ("tree", "archive"),
    ),
    PointerKind(
        catalogue.BASE_EXPORT,
        "an exported base model",
        "delete the pointer; the next wer_report exports it again",
        ("tree", "archive"),
    ),
    PointerKind(
        catalogue.COMPARED_EXPORT,
        "an exported model of a comparison",
        "delete the pointer; the next comparison exports it again",
        ("tree", "archive"),
    ),
    PointerKind(catalogue.BUNDLE, "the list of a version's bundles", "make a new bundle: habla-ml train bundle"),
    PointerKind(
        catalogue.FIRST_STAGE,
        "a base model after general speech",
        "delete the pointer; the next training makes it again",
        ("record", "tree"),
    ),
    PointerKind(catalogue.UNFINISHED_TRAINING, "an unfinished training", "train the version again; it begins anew"),
    PointerKind(
        catalogue.HUB_START,
        "a model of the Hub that trainings continue from",
        "delete the pointer; the next training downloads it again",
        ("tree",),
    ),
    PointerKind(
        catalogue.HYPOTHESES,
        "cached hypotheses",
        "delete the pointer; the next report decodes again",
        tables=("hypotheses",),
    ),
    PointerKind(
        catalogue.SPEED, "a measurement of speed", "delete the pointer; the next report measures again", ("run",)
    ),
    PointerKind(
        catalogue.COMPARISON,
        "a comparison of models",
        "compare the models again: habla-ml compare",
        ("comparison", "html", "markdown"),
        ("utterances", "word_errors"),
    ),
    PointerKind(catalogue.TEST_SET_LOOKS, "the versions that were scored on a test set", _NOTHING_BRINGS_BACK),
    PointerKind(catalogue.SPENDING, "the cost of a hosted engine in a month", "read it from the provider's bill"),
    PointerKind(
        catalogue.QUALITY,
        "the weekly quality of a released version",
        "delete the pointer and materialise released_model_quality, which starts a new record",
        ("record",),
    ),
    PointerKind(catalogue.ALERT, "an alert that was sent", "delete the pointer; the alert is sent again"),
    PointerKind(
        catalogue.HUB_DATASET,
        "the list of snapshots on the Hub",
        f"{_NOTHING_BRINGS_BACK}, and an erasure needs it; look at the repository on the Hub",
    ),
    PointerKind(
        catalogue.REVIEW_QUEUE,
        "the review queue, and which segments were chosen before",
        "delete the pointer and materialise review_queue",
        ("queue", "chosen", "sent_back", "blind", "planned"),
    ),
    PointerKind(catalogue.SPLITS, "the newest snapshot", "delete the pointer and materialise splits", ("snapshot",)),
    PointerKind(
        catalogue.SPLIT_LEDGER,
        "the ledger of splits",
        f"{_NOTHING_BRINGS_BACK}; with a new ledger, earlier results on the test set do not compare (docs/splits.md)",
        ("ledger",),
    ),
    PointerKind(
        catalogue.DROPPED_COPIES,
        "the list of near-duplicates",
        "delete the pointer and materialise splits, which compares again",
        ("dropped",),
    ),
    PointerKind(
        catalogue.LAST_GOOD_CORPUS,
        "the hours of the last good snapshot",
        "delete the pointer and materialise splits",
        ("hours_by_day",),
    ),
    PointerKind(
        catalogue.CORPUS_HOURS, "the sum of hours", "delete the pointer; the next tick adds them up", tables=("parts",)
    ),
    PointerKind(
        catalogue.TOMBSTONES,
        "the list of what was erased",
        f"{_NOTHING_BRINGS_BACK}: stop the pipeline, and erase each withdrawn contributor of the register again",
        ("tombstones",),
    ),
    PointerKind(
        catalogue.ERASURE_INDEX,
        "the index of erasures",
        "delete the pointer; the next erasure reads the tables again",
        (),
        ("parts",),
    ),
    PointerKind(
        catalogue.CLEANUP_MARKS,
        "the marks of the cleanup",
        "delete the pointer; the next cleanup marks again",
        (),
        ("marks",),
    ),
    PointerKind(
        catalogue.UNFINISHED_RESTORE, "the state of a restore", "run the same `habla-ml restore` again; it continues"
    ),
    PointerKind(
        catalogue.RESTORED,
        "the note that this lake was restored",
        f"{_NOTHING_BRINGS_BACK}; clips that the service received since the backup are not read again",
    ),
)
"""Special kinds precede the general ones: `models/v1/plan` is no export."""


def find_pointer_kind(name: str) -> PointerKind | None:
    """Return the kind of a pointer, or None for a name that this version of habla_ml does not use."""
    return next((each for each in POINTER_KINDS if each.has(name)), None)
