from habla_ml.defs.models.comparison_metadata import build_comparison_metadata
from habla_ml.settings import AcceptableSettings
from habla_ml_tests.testing.full_comparison import SENTENCES, TERMS, make_full_comparison
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


def test_the_metadata_has_every_figure_and_no_spoken_or_recognised_word() -> None:
    comparison, _ = make_full_comparison()
    shown = build_comparison_metadata(comparison, AcceptableSettings())
    text = " ".join(str(getattr(each, "value", each)) for each in shown.values())
    for table in ("side by side", "changes", "andalusian features", "invented text"):
        assert "| v2" in shown[table].value or " v2 |" in shown[table].value
    smallest = comparison.changes[0].smallest_detectable_points
    assert smallest is not None
    assert f"{smallest:.1f} |" in shown["changes"].value
    assert "Final s before a consonant" in shown["andalusian features"].value
    invented = [
        each.text for model in comparison.models if model.hallucination for each in model.hallucination.evidence
    ]
    confused = [
        word
        for each in comparison.confusions
        for pair in each.words
        for word in (pair.reference_token, pair.hypothesis_token)
    ]
    spoken = {*SENTENCES, *TERMS, *invented, *(word for word in confused if len(word) > 5)}
    people = {each.name for each in comparison.slices if each.dimension in ("speaker", "session")}
    assert invented
    assert [each for each in people if each in text] == []
    assert [each for each in spoken if each in text] == []


def test_a_comparison_with_nothing_measured_is_shown_too() -> None:
    shown = build_comparison_metadata(make_comparison(make_utterances(6, 6), {"base": 0.4}), AcceptableSettings())
    assert "| WER" in shown["side by side"].value
    assert "changes" not in shown
    assert "invented text" not in shown


def test_figures_of_two_test_sets_share_no_curve() -> None:
    charted = []
    for sessions in (6, 7):
        comparison = make_comparison(
            make_utterances(sessions, 6), {"base": 0.4, "candidate": 0.2}, {"base": 0.1, "candidate": 0.1}
        )
        found = build_comparison_metadata(comparison, AcceptableSettings())
        charted.append({name for name, each in found.items() if isinstance(each, float)})
        assert f"WER % on test set {comparison.test.digest[:8]}" in charted[-1]
    general = {name for name in charted[0] & charted[1] if not name.startswith("general Spanish WER % on set ")}
    assert len(charted[0]) == 3
    assert general == set()
