"""The gate: a new decision from stored evidence about the present artefacts."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from habla_ml.errors import EvaluationError, ReleaseError
from habla_ml.evaluation.comparison.format_scores import FormatScores
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.comparison.test_set_digest import compute_test_set_digest
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.release.candidate import collect_candidate
from habla_ml.release.gate import check_gate
from habla_ml.release.manifest import read_manifest
from habla_ml.release.override import sign_override
from habla_ml.release.publish import publish_release
from habla_ml.release.stale_evidence import PresentState
from habla_ml.settings import PromotionSettings, ReleaseSettings, StoreSettings
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.decoded_formats import make_format_score
from habla_ml_tests.testing.release_drafts import make_release_files
from habla_ml_tests.testing.simulated_hypotheses import TEST_PROVENANCE, make_comparison, make_utterances
from habla_ml_tests.testing.trained_versions import fake_digest, make_training_record

UTTERANCES = make_utterances(8, 6)
PRESENT = PresentState(
    test_set=compute_test_set_digest((each.segment_id, each.sentence) for each in UTTERANCES),
    conventions=TEST_PROVENANCE.conventions_digest,
    decoding=DecodingOptions(),
    release=None,
    release_artefact=None,
)
PROMOTION_RULE = functools.partial(decide, settings=PromotionSettings())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def set_pointer(lake: Lake, name: str, **changes: Any) -> None:
    seen = lake.read_pointer(name)
    lake.move_pointer(name, {**(seen.value if seen else {}), **changes}, seen)


def measured(artefact: str, candidate_rate: float = 0.1) -> Comparison:
    comparison = make_comparison(
        UTTERANCES, {"base": 0.4, "candidate": candidate_rate}, {"base": 0.1, "candidate": 0.1}
    )
    models = tuple(
        each.model_copy(update={"artefact_digest": artefact}) if each.role == "candidate" else each
        for each in comparison.models
    )
    return comparison.model_copy(update={"models": models})


def train_and_export(lake: Lake, folder: Path, content: str = "") -> None:
    """What training and export publish for `v2`."""
    files = make_release_files(folder, "v2", content)
    tree = lake.put_tree(files["ctranslate2"].parent)
    record = make_training_record("v2").model_copy(update={"tree": tree})
    record_object = lake.put_json(record.model_dump(mode="json"))
    set_pointer(lake, "models/v2/checkpoint", tree=tree, record=record_object, identity=fake_digest("identity"))
    served = lake.put_tree(files["ctranslate2"])
    set_pointer(
        lake, "models/v2/ctranslate2", tree=served, checkpoint=tree, quantisation="int8", size_bytes=1, mended=[]
    )
    archive = lake.put_file(files["coreml"])
    set_pointer(
        lake,
        "models/v2/coreml",
        archive=archive,
        checkpoint=tree,
        size_bytes=1,
        mended=[],
        model_format="mlpackage",
        parity={"encoder_psnr_db": 71.6, "same_argmax": 8},
    )


def evaluate(lake: Lake, candidate_rate: float = 0.1) -> None:
    checkpoint, served = lake.read_pointer("models/v2/checkpoint"), lake.read_pointer("models/v2/ctranslate2")
    assert checkpoint is not None
    assert served is not None
    comparison = measured(served.value["tree"], candidate_rate)
    set_pointer(
        lake,
        "models/v2/report",
        comparison=lake.put_bytes(comparison.to_json().encode()),
        checkpoint=checkpoint.value["tree"],
        ctranslate2=served.value["tree"],
    )


def test_a_version_without_an_evaluation_is_an_error(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    with pytest.raises(ReleaseError, match=r"v2 was never evaluated.*materialise `wer_report`"):
        check_gate(lake, "v2", PROMOTION_RULE, PRESENT)


@pytest.mark.parametrize(
    ("pointer", "artefact", "asset"),
    [
        ("checkpoint", "checkpoint", "fine_tuned_checkpoint"),
        ("ctranslate2", "CTranslate2 model", "ctranslate2_model"),
    ],
)
def test_a_version_without_an_artefact_is_an_error(tmp_path: Path, pointer: str, artefact: str, asset: str) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    train_and_export(lake, tmp_path)
    evaluate(lake)
    (tmp_path / "lake" / "pointers" / "models" / "v2" / f"{pointer}.json").unlink()
    with pytest.raises(ReleaseError, match=f"v2 has no {artefact} to release; materialise `{asset}`"):
        check_gate(lake, "v2", PROMOTION_RULE, PRESENT)


def test_a_clear_gain_is_allowed(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert gate.is_allowed
    assert gate.reasons == PROMOTION_RULE(gate.comparison).reasons


def test_the_gate_ignores_the_stored_verdict(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.4)
    set_pointer(lake, "models/v2/report", verdict="deploy")
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert not gate.is_allowed
    assert "not significant" in gate.reasons[0]
    with pytest.raises(ReleaseError, match=r"v2 may not be released: .*not significant"):
        collect_candidate(lake, gate, make_release_settings(tmp_path), tmp_path / "work")


def test_a_stricter_rule_refuses(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    strict = functools.partial(decide, settings=PromotionSettings(deploy_above_relative=0.99))
    assert not check_gate(lake, "v2", strict, PRESENT).is_allowed


@pytest.mark.parametrize(
    ("pointer", "key", "reason"),
    [
        ("checkpoint", "tree", "The report is about another checkpoint"),
        ("ctranslate2", "tree", "The report is about another CTranslate2 model"),
        ("ctranslate2", "checkpoint", "The CTranslate2 model is of another checkpoint"),
        ("coreml", "checkpoint", "The Core ML archive is of another checkpoint"),
        ("report", "checkpoint", "The report is about another checkpoint"),
        ("report", "ctranslate2", "The report is about another CTranslate2 model"),
    ],
)
def test_evidence_about_other_artefacts_is_refused(
    lake: Lake, tmp_path: Path, pointer: str, key: str, reason: str
) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    set_pointer(lake, f"models/v2/{pointer}", **{key: "f" * 64})
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert not gate.is_allowed
    assert any(reason in each and "materialise" in each for each in gate.reasons)


def test_evidence_about_another_model_is_refused(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    set_pointer(lake, "models/v2/report", comparison=lake.put_bytes(measured("e" * 64).to_json().encode()))
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert not gate.is_allowed
    assert gate.reasons[0].startswith("The evidence measured another model (eeeeeeeeeeee)")
    assert gate.reasons[0].endswith("; materialise `wer_report` again.")


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        (replace(PRESENT, test_set="e" * 64), "another test set"),
        (replace(PRESENT, test_set=None), "another test set"),
        (replace(PRESENT, conventions="e" * 64), "other conventions"),
        (
            replace(PRESENT, release="v1", release_artefact="e" * 64),
            "compares with no release, but v1 is to be replaced",
        ),
    ],
)
def test_evidence_of_other_circumstances_is_refused_and_no_override_accepts_it(
    lake: Lake, tmp_path: Path, present: PresentState, reason: str
) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.4)
    sign_override(lake, "v2", "Ana Ruiz", OVERRIDE_TEXT, NOW, PROMOTION_RULE)
    assert check_gate(lake, "v2", PROMOTION_RULE, PRESENT).is_allowed
    gate = check_gate(lake, "v2", PROMOTION_RULE, present)
    assert not gate.is_allowed
    assert reason in gate.reasons[0]
    assert "aterialise" in gate.reasons[0]


def test_evidence_of_another_scorer_is_refused_and_no_override_accepts_it(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    found = check_gate(lake, "v2", PROMOTION_RULE, PRESENT).comparison
    older = found.model_copy(update={"method": found.method.model_copy(update={"scorer": "scorer-0"})})
    set_pointer(lake, "models/v2/report", comparison=lake.put_bytes(older.to_json().encode()))
    sign_override(lake, "v2", "Ana Ruiz", OVERRIDE_TEXT, NOW, PROMOTION_RULE)
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert not gate.is_allowed
    assert "scorer-0" in gate.reasons[0]


@pytest.mark.parametrize(
    ("release", "artefact", "reason"),
    [("v1", "1" * 64, ""), ("v0", "1" * 64, "compares with v1, but v0"), ("v1", "e" * 64, "other files of v1")],
)
def test_evidence_counts_only_against_the_release_that_it_would_replace(
    lake: Lake, tmp_path: Path, release: str, artefact: str, reason: str
) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    served = lake.read_pointer("models/v2/ctranslate2")
    assert served is not None
    comparison = make_comparison(UTTERANCES, {"base": 0.5, "previous": 0.4, "candidate": 0.1})
    models = [
        each.model_copy(update={"artefact_digest": served.value["tree"]}) if each.role == "candidate" else each
        for each in comparison.models
    ]
    stored = comparison.model_copy(update={"models": tuple(models)})
    set_pointer(lake, "models/v2/report", comparison=lake.put_bytes(stored.to_json().encode()))
    present = replace(PRESENT, release=release, release_artefact=artefact)
    gate = check_gate(lake, "v2", PROMOTION_RULE, present)
    assert gate.is_allowed is (not reason)
    assert reason in gate.reasons[0]


def test_unreadable_evidence_is_an_error(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    set_pointer(lake, "models/v2/report", comparison=lake.put_bytes(b"{}"))
    with pytest.raises(EvaluationError, match="evaluate the model version again"):
        check_gate(lake, "v2", PROMOTION_RULE, PRESENT)


def make_release_settings(folder: Path) -> ReleaseSettings:
    return ReleaseSettings(store=StoreSettings(url=str(folder / "cdn")))


@pytest.mark.parametrize("phone", [True, False])
def test_the_checked_artefacts_are_published(lake: Lake, tmp_path: Path, phone: bool) -> None:
    train_and_export(lake, tmp_path)
    if not phone:
        (tmp_path / "lake" / "pointers" / "models" / "v2" / "coreml.json").unlink()
    evaluate(lake)
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    train_and_export(lake, tmp_path, content="trained again meanwhile")
    draft, files = collect_candidate(lake, gate, make_release_settings(tmp_path), tmp_path / "work")
    store = DirectoryStore(tmp_path / "cdn")
    released = publish_release(store, None, "stable", draft, files)
    manifest = read_manifest(store, released.manifest_key)
    assert [each.label for each in manifest.archives] == (["coreml", "ctranslate2"] if phone else ["ctranslate2"])
    checked = make_release_files(tmp_path, "v2")
    served = manifest.archives[-1]
    assert {each.path: each.sha256 for each in served.files} == {
        each.path: each.sha256 for each in lake.list_tree_files(lake.put_tree(checked["ctranslate2"]))
    }
    if phone:
        assert store.read(manifest.archives[0].key) == checked["coreml"].read_bytes()
        assert (manifest.archives[0].minimum_ios, manifest.archives[0].specification_version) == ("16.0", 7)
        assert manifest.archives[0].parity == {"encoder_psnr_db": 71.6, "same_argmax": 8}
    assert served.parity is None
    assert b'"parity":null' not in store.read(released.manifest_key), "as in manifests of earlier versions"
    assert manifest.training.checkpoint == gate.checkpoint.value["tree"]
    assert manifest.evaluation.wer.low <= manifest.evaluation.wer.value <= manifest.evaluation.wer.high
    change = gate.comparison.change("base")
    assert change is not None
    assert change.relative_improvement is not None
    assert manifest.evaluation.relative_improvement.value == pytest.approx(change.relative_improvement.value)


@pytest.mark.parametrize("low", [1.0, 4.0])
def test_a_format_that_is_clearly_worse_is_left_out_and_another_names_what_was_measured(
    lake: Lake, tmp_path: Path, low: float
) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    pointer, report = lake.read_pointer("models/v2/coreml"), lake.read_pointer("models/v2/report")
    assert pointer is not None
    assert report is not None
    score = make_format_score("coreml", pointer.value["archive"], Interval(low, 6.0, 9.0), is_emulated=True)
    comparison = read_comparison(lake.get_bytes(report.value["comparison"]))
    comparison = comparison.model_copy(update={"formats": FormatScores(clips=24, test_clips=48, scores=(score,))})
    set_pointer(lake, "models/v2/report", comparison=lake.put_bytes(comparison.to_json().encode()))
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert gate.is_allowed
    draft, files = collect_candidate(lake, gate, make_release_settings(tmp_path), tmp_path / "work")
    if low > PromotionSettings().format_loss_points:
        assert any("The format coreml in int8 is left out of the release" in each for each in gate.reasons)
        assert list(files) == ["ctranslate2"]
        return
    assert list(files) == ["coreml", "ctranslate2"]
    phone, served = draft.archives
    assert served.measured is None
    assert phone.measured is not None
    assert (phone.measured.clips, phone.measured.profile, phone.measured.points.high) == (24, "phone", 9.0)
    assert phone.measured.real_time_factor is None, "the speed of an interpreter is none of a phone"
    assert phone.measured.hardware is None
    assert b'"measured":null' not in draft.model_dump_json().encode()


NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
OVERRIDE_TEXT = "Ten parents asked for it, and the school year ends next week."


def test_an_override_allows_the_release_and_is_in_the_manifest(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.4)
    assert not check_gate(lake, "v2", PROMOTION_RULE, PRESENT).is_allowed
    signed = sign_override(lake, "v2", "Ana Ruiz", OVERRIDE_TEXT, NOW, PROMOTION_RULE)
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert gate.is_allowed
    assert gate.reasons[0] == f"Released against the rule by Ana Ruiz on 2026-11-21: {OVERRIDE_TEXT}"
    assert set(signed.against) <= set(gate.reasons)
    assert signed.verdict == "refuse"
    draft, _ = collect_candidate(lake, gate, make_release_settings(tmp_path), tmp_path / "work")
    assert draft.override is not None
    assert (draft.override.signed_by, draft.override.reason) == ("Ana Ruiz", OVERRIDE_TEXT)


def test_a_perfect_score_is_an_alarm_and_needs_a_signed_override(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.0)
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert not gate.is_allowed
    assert gate.reasons[0].startswith("Alarm: v2 makes no error in 384 words")
    sign_override(lake, "v2", "Ana Ruiz", OVERRIDE_TEXT, NOW, PROMOTION_RULE)
    assert check_gate(lake, "v2", PROMOTION_RULE, PRESENT).is_allowed


def test_an_override_ends_with_a_new_evaluation(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.4)
    sign_override(lake, "v2", "Ana Ruiz", OVERRIDE_TEXT, NOW, PROMOTION_RULE)
    evaluate(lake, candidate_rate=0.41)
    gate = check_gate(lake, "v2", PROMOTION_RULE, PRESENT)
    assert not gate.is_allowed
    assert gate.override is None


def test_an_override_needs_a_refusal_and_a_reason(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    with pytest.raises(ReleaseError, match="there is nothing to override"):
        sign_override(lake, "v2", "Ana Ruiz", OVERRIDE_TEXT, NOW, PROMOTION_RULE)
    evaluate(lake, candidate_rate=0.4)
    with pytest.raises(ValidationError, match="at least 20 characters"):
        sign_override(lake, "v2", "Ana Ruiz", "because", NOW, PROMOTION_RULE)


def test_an_override_does_not_accept_other_artefacts(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.4)
    sign_override(lake, "v2", "Ana Ruiz", OVERRIDE_TEXT, NOW, PROMOTION_RULE)
    set_pointer(lake, "models/v2/ctranslate2", tree=fake_digest("another"))
    assert not check_gate(lake, "v2", PROMOTION_RULE, PRESENT).is_allowed
