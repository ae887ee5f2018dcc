import json
import re
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.compare import compare_with_error_tables
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.comparison.version_scores import VersionScore
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.report import ReportContent, ReportFiles, write_report
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import PromotionSettings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.full_comparison import make_full_comparison, with_hostile_texts, with_many_sessions
from habla_ml_tests.testing.html_tags import TagCollector, assert_self_contained
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_comparison,
    make_utterances,
)

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)> | [x](http://evil) `' + "{{ 7919 * 7927 }}"


def write_report_to(
    comparison: Comparison, utterances: list[Utterance], folder: Path, date: str | None = None
) -> ReportFiles:
    return write_report(ReportContent(comparison, decide(comparison, PromotionSettings()), date), utterances, folder)


_HOSTILE_MODELS: tuple[tuple[str, ModelRole, str, str], ...] = (
    ("base", "base", "1", HOSTILE * 3),
    (HOSTILE, "candidate", "2", HOSTILE),
)


def hostile_comparison() -> tuple[Comparison, ErrorTables, list[Utterance]]:
    utterances = [
        replace(each, sentence=f"{each.sentence} {HOSTILE}", speaker=HOSTILE, session_id=f"{HOSTILE}{at % 6}")
        for at, each in enumerate(make_utterances(6, 3))
    ]
    evaluated = [
        DecodedModel(
            name,
            role,
            digest * 64,
            DecodingOptions(),
            [Hypothesis(u.audio_sha256, text, 0.1, 1.0) for u in utterances],
        )
        for name, role, digest, text in _HOSTILE_MODELS
    ]
    return *compare_with_error_tables(utterances, evaluated, TEST_SETTINGS, TEST_PROVENANCE), utterances


@pytest.mark.long
def test_the_page_loads_and_runs_nothing_with_hostile_texts(tmp_path: Path) -> None:
    comparison, tables, utterances = hostile_comparison()
    content = ReportContent(comparison, decide(comparison, PromotionSettings()), HOSTILE)
    page = write_report(content, utterances, tmp_path, tables).html.read_text("utf-8")
    assert_self_contained(page)
    assert len(TagCollector(page).scripts) == 1
    assert TagCollector(page).dangling_links == []
    assert str(7919 * 7927) not in page


@pytest.mark.long
def test_hostile_text_does_not_format_or_break_a_markdown_table(tmp_path: Path) -> None:
    comparison, _, utterances = hostile_comparison()
    text = write_report_to(comparison, utterances, tmp_path).markdown.read_text("utf-8")
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search(r"(?<!\\)\]\(", text)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_same_comparison_gives_the_same_bytes_and_the_json_can_be_read_back(tmp_path: Path) -> None:
    utterances = make_utterances(6, 6)
    comparison = make_comparison(utterances, {"base": 0.4, "previous": 0.3, "candidate": 0.15})
    first, second = (
        write_report_to(comparison, utterances, tmp_path / "a"),
        write_report_to(comparison, utterances, tmp_path / "b"),
    )
    for name in ("html", "markdown", "json"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()
    assert read_comparison(first.json.read_bytes()) == comparison


def test_the_top_shows_result_certainty_and_slices(tmp_path: Path) -> None:
    utterances = make_utterances(8, 12)
    general = {"base": 0.1, "previous": 0.1, "candidate": 0.1}
    comparison = make_comparison(utterances, {"base": 0.4, "previous": 0.3, "candidate": 0.15}, general)
    page = (
        write_report_to(comparison, utterances, tmp_path, date="2026-11-21")
        .html.read_text("utf-8")
        .replace("\u00a0", " ")
    )
    top = page[page.index("<section") : page.index("</section>")]
    base, previous, candidate = (100 * (comparison.models[at].wer.value or 0) for at in (0, 1, 2))
    against_release, against_base = (100 * (each - candidate) / each for each in (previous, base))
    assert (
        f"v2 against v1 (released): {against_release:.0f} % fewer word errors, better with probability above 0.99; "
        f"against base: {against_base:.0f} % fewer word errors"
    ) in top
    assert f"base gets {base:.1f} wrong, v2 {candidate:.1f}" in top
    assert "Release it" in top
    assert "Quiet speech:" in top
    assert "General Spanish" in top
    assert "2026-11-21" in top


def test_a_candidate_that_is_not_better_than_the_release_keeps_it_and_the_headline_names_both(tmp_path: Path) -> None:
    utterances = make_utterances(8, 12)
    comparison = make_comparison(utterances, {"base": 0.5, "previous": 0.14, "candidate": 0.15})
    files = write_report_to(comparison, utterances, tmp_path)
    page = files.html.read_text("utf-8").replace("\u00a0", " ")
    top = page[page.index("<section") : page.index("</section>")]
    assert "Keep v1" in top
    assert re.search(
        r"v2 against v1 \(released\): \d+ % (more|fewer) word errors, better with probability (0\.\d\d|below 0\.01); "
        r"against base: \d+ % fewer word errors",
        top,
    )
    markdown = files.markdown.read_text("utf-8")
    assert "Keep v1: v2 is not shown to be better than it." in markdown
    assert "Guards against losses that a lower WER hides" in markdown
    assert "large slices" in markdown


def test_a_candidate_without_a_significant_improvement_is_not_called_better(tmp_path: Path) -> None:
    utterances = make_utterances(6, 6)
    worse = make_comparison(utterances, {"base": 0.15, "candidate": 0.5})
    page = write_report_to(worse, utterances, tmp_path / "worse").html.read_text("utf-8")
    assert "v2 is worse than base" in page
    assert "Do not release it" in page
    equal = make_comparison(utterances, {"base": 0.3, "candidate": 0.3})
    assert "v2 is not significantly better than base" in write_report_to(
        equal, utterances, tmp_path / "e"
    ).html.read_text("utf-8")


def test_reports_without_candidate_or_speech_are_written(tmp_path: Path) -> None:
    utterances = make_utterances(6, 6)
    for name, odd in (
        ("base", make_comparison(utterances, {"base": 0.4})),
        ("none", make_comparison([], {"base": 0, "candidate": 0})),
    ):
        files = write_report_to(odd, utterances, tmp_path / name)
        assert " with the base model" in files.html.read_text("utf-8")
        assert " with the base model" in files.markdown.read_text("utf-8")


def test_every_figure_of_the_versions_is_on_the_page() -> None:
    comparison = make_comparison(make_utterances(6, 6), {"base": 0.4, "previous": 0.3, "candidate": 0.15})
    page = render_html(ReportContent(comparison, decide(comparison, PromotionSettings()))).replace("\u00a0", " ")
    for model in comparison.models:
        for name in ("wer", "orthographic_wer", "cer"):
            rate = model.metrics[name]
            assert f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}–" in page
        assert model.artefact_digest in page
    assert comparison.test.digest in page


def test_sources_of_general_speech_are_in_all_three_files(tmp_path: Path) -> None:
    common = SpeechSourceSummary(
        "cv-es",
        "common_voice",
        "CC0-1.0",
        "https://example.org/es",
        "at most 2 h",
        40,
        0.1,
        {"by the filters": 3},
        "d" * 64,
    )
    own = replace(common, name="t/fine_tune_dataset.csv", kind="table", licence="", origin="", selection="everything")
    utterances = make_utterances(6, 6)
    measured = make_comparison(utterances, {"base": 0.4, "candidate": 0.15}, {"base": 0.1, "candidate": 0.1})
    provenance = measured.provenance.model_copy(update={"out_of_domain": (common, own)})
    comparison = measured.model_copy(update={"provenance": provenance})
    files = write_report_to(comparison, utterances, tmp_path)
    page, text = files.html.read_text("utf-8"), files.markdown.read_text("utf-8").replace("\\", "")
    for shown in (page, text):
        assert "40 clips, 6.0 min, at most 2 h; licence CC0-1.0; from https://example.org/es" in shown
        assert "everything; licence not stated; from not stated" in shown
    assert read_comparison(files.json.read_bytes()).provenance.out_of_domain == (common, own)
    old = json.loads(files.json.read_text("utf-8"))
    del old["provenance"]["out_of_domain"]
    assert read_comparison(json.dumps(old)).provenance.out_of_domain == ()


def test_all_measurements_are_on_the_page_and_in_markdown_even_with_hostile_texts(
    tmp_path: Path,
) -> None:
    measured, utterances = make_full_comparison()
    versions = tuple(
        VersionScore(name=name, artefact_digest="d" * 64, interval=Interval(0.1, 0.2, 0.3), counts={})
        for name in (HOSTILE, "v9")
    )
    comparison = with_hostile_texts(measured, HOSTILE).model_copy(update={"versions": versions})
    decision = decide(comparison, PromotionSettings())
    files = write_report(ReportContent(comparison, decision, HOSTILE, HOSTILE), utterances, tmp_path)
    page = files.html.read_text("utf-8")
    assert_self_contained(page)
    assert TagCollector(page).dangling_links == []
    assert str(7919 * 7927) not in page
    text = files.markdown.read_text("utf-8")
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search(r"(?<!\\)\]\(", text)
    for shown in (page, text):
        assert "Release it" in shown
        assert "Override:" in shown
        for metric in ("output without speech", "capitals F1", "domain word recall", "word time error"):
            assert metric in shown
        for heading in ("Side by side", "Recommendation", "Trade-offs", "Migration path", "Versions over time"):
            assert heading in shown
        assert "habla-ml rollback --to v1" in shown
        assert "licence CC0-1.0" in shown


@pytest.mark.long
def test_the_json_is_valid_by_its_schema_and_a_changed_one_is_not(tmp_path: Path) -> None:
    comparison, utterances = make_full_comparison()
    files = write_report_to(comparison, utterances, tmp_path)
    schema = json.loads(files.schema.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    found = json.loads(files.json.read_text("utf-8"))
    jsonschema.validate(found, schema)
    for fault in ({**found, "surprise": 1}, {**found, "test": {**found["test"], "words": "many"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(fault, schema)


def test_a_comparison_without_a_release_decision_shows_no_verdict(tmp_path: Path) -> None:
    measured, utterances = make_full_comparison()
    roles: dict[str, ModelRole] = {"previous": "compared", "candidate": "compared"}
    models = tuple(each.model_copy(update={"role": roles.get(each.role, each.role)}) for each in measured.models)
    change = measured.changes[0].model_copy(update={"role": "base"})
    comparison = measured.model_copy(update={"models": models, "changes": (change,), "examples": ()})
    files = write_report(ReportContent(comparison), utterances, tmp_path)
    page, text = files.html.read_text("utf-8"), files.markdown.read_text("utf-8")
    for shown in (page, text):
        assert "without a release decision" in shown
        assert "Use v2 if accuracy decides" in shown
        assert "Release it" not in shown
        assert "Not measured: there is no candidate" not in shown
    assert 'id="decision"' not in page
    assert_self_contained(page)
    assert TagCollector(page).dangling_links == []


def test_a_page_of_five_thousand_utterances_is_written_in_two_seconds() -> None:
    comparison, _ = make_full_comparison()
    large = with_many_sessions(comparison, 5000 // 12)
    content = ReportContent(large, decide(large, PromotionSettings()))
    start = time.process_time()
    render_html(content)
    render_markdown(content)
    assert time.process_time() - start < 2
