"""The sections of a report, built once from the comparison for HTML, Markdown and Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from habla_ml.document import Block, BulletList, Details, Drawing, Heading, Paragraph, Section
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.sealed_check import judge_sealed
from habla_ml.evaluation.report import breakdown, measurement_tables, sentences, tables
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.deployment_advice import advise_deployment
from habla_ml.evaluation.report.figures import percent, points_with_interval
from habla_ml.evaluation.report.formats import build_formats_section
from habla_ml.evaluation.report.plots import draw_reliability_diagram, draw_versions_chart
from habla_ml.evaluation.report.scoreboard import build_scoreboard
from habla_ml.evaluation.report.serving import build_serving_section, describe_speed_run
from habla_ml.tables import TextTable

EXAMPLES_SECTION = "examples"
_BARS = (
    "A dot is the measured share of wrong words; its bar is the 95 % interval, on one axis from 0 for the whole table."
)
_EVIDENCE_TITLES = {
    "non_speech": "Text without speech",
    "short_insertion": "Insertions in short clips",
    "loop": "Loops",
    "compression": "Repetitive texts",
    "stock_phrase": "Stock phrases",
}


def build_sections(content: ReportContent) -> tuple[Section, ...]:
    """Return every section that has content, in reading order."""
    builders = (
        _build_decision,
        _build_test_set,
        _build_side_by_side,
        _build_history,
        _build_sealed,
        _build_versions,
        _build_hours,
        _build_slices,
        _build_dialect,
        _build_words,
        _build_invented,
        build_serving_section,
        build_formats_section,
        _build_decoding,
        _build_general_speech,
        _build_confidence,
        _build_examples,
        _build_provenance,
    )
    return tuple(section for build in builders if (section := build(content)).blocks)


def list_public_tables(content: ReportContent) -> dict[str, TextTable]:
    """Return the tables without spoken words, speakers and sessions, by title in lower case."""
    found = [table for section in build_sections(content) for table in section.tables if table.is_public]
    return {each.title.lower(): each.drop_private_columns() for each in found}


def _build_decision(content: ReportContent) -> Section:
    decision = content.decision
    override = f"Override: {content.override}" if content.override else ""
    blocks: list[Block | None] = [
        Paragraph(override, "override"),
        BulletList(tuple(decision.reasons) if decision else ()),
    ]
    if decision is not None and decision.guards:
        blocks += [Heading("Guards against losses that a lower WER hides"), tables.build_guard_table(decision)]
    return Section.of("decision", "Reasons for the decision", blocks, "Decision")


def _build_test_set(content: ReportContent) -> Section:
    return Section.of("test-set", "Test set", [tables.build_test_set_table(content)])


def _build_side_by_side(content: ReportContent) -> Section:
    rows = build_scoreboard(content.comparison, content.acceptable)
    advice = advise_deployment(content, rows)
    blocks: list[Block | None] = [
        tables.build_scoreboard_table(content.comparison, rows),
        Paragraph(
            "Brackets hold the 95 % interval. The acceptable bound is below the metric. A model is better than another "
            "if the interval of their difference excludes zero or, without a paired difference, if their intervals do "
            "not overlap. Winners are the models that no other model beats; several winners do not differ "
            "significantly. For time and cost the whole interval must be beyond 5 %; memory is measured once and must "
            "differ by 25 %.",
            "soft",
        ),
        Heading("Recommendation"),
        Paragraph(advice.recommendation),
        Heading("Trade-offs"),
        BulletList(advice.trade_offs),
        Heading("Migration path"),
        BulletList(advice.migration),
        Paragraph("Rollback:", command=advice.rollback) if advice.rollback else None,
    ]
    return Section.of("side-by-side", "Side by side", blocks, "Side by side")


def _build_history(content: ReportContent) -> Section:
    blocks: list[Block | None] = [
        Paragraph(
            "Wrong words (WER, %) on this test set, the oldest version on the left; lower is better. Bars are 95 % "
            "intervals. Every version was scored on this test set, also those trained when it was smaller.",
            "soft",
        ),
        Drawing(draw_versions_chart(content.history, content.focus.name)),
        tables.build_history_table(content),
    ]
    return Section.of("history", "Versions over time", blocks if len(content.history) > 1 else ())


def _build_sealed(content: ReportContent) -> Section:
    judgement = judge_sealed(content.sealed, content.comparison)
    blocks: list[Block | None] = [
        *(Paragraph(each, "strong") for each in (*judgement.objections, *judgement.warnings)),
        *(Paragraph(each) for each in judgement.notes),
    ]
    return Section.of("sealed", "Sealed sessions", blocks)


def _build_versions(content: ReportContent) -> Section:
    comparison = content.comparison
    blocks: list[Block | None] = [Paragraph(_BARS, "soft"), tables.build_model_table(comparison)]
    if comparison.changes:
        blocks += [
            Heading("Changes, on the same sessions"),
            tables.build_change_table(comparison),
            Paragraph(
                "Smallest detectable: the true difference that this test set detects in four of five cases; it often "
                "misses smaller ones.",
                "soft",
            ),
        ]
    if comparison.seeds:
        blocks += [Heading("The same training with other seeds"), tables.build_seed_table(comparison)]
    return Section.of("versions", "Versions", blocks, "Versions")


def _build_hours(content: ReportContent) -> Section:
    advice, blocks = content.training_advice, list[Block | None]()
    if advice is not None:
        blocks = [
            Paragraph(f"{advice.headline}.", "strong"),
            BulletList(tuple(advice.reasons[: sentences.REASONS_SHOWN])),
            tables.build_forecast_table(advice),
            Paragraph("For the present state of the lake, with all reasons:", "soft", content.advise_command),
        ]
    return Section.of("hours", "Should I fine-tune? How many more hours?", blocks, "Hours")


def _build_slices(content: ReportContent) -> Section:
    comparison = content.comparison
    wide, speakers = breakdown.list_wide_slices(comparison), breakdown.list_speakers(comparison)
    shown = speakers[: breakdown.SPEAKERS_SHOWN]
    sessions = breakdown.select_worst_sessions(comparison, content.focus.name)
    if not wide:
        return Section.of("slices", "Slices", [Paragraph("No speech was scored.")], "Slices")
    blocks: list[Block | None] = [
        Paragraph(f"Pale slices are too small for conclusions. {_BARS}", "soft"),
        tables.build_slice_table(comparison, "Slices", wide, is_public=True),
        Paragraph(breakdown.explain_missing_dimensions(comparison), "soft"),
        Heading("Speakers"),
        tables.build_slice_table(comparison, "Speakers", shown),
        Paragraph(breakdown.explain_omitted_speakers(comparison, len(shown)), "soft"),
        Details(
            f"Worst sessions ({len(sessions)} with the most errors of {content.focus.name})",
            (
                Paragraph(
                    "A single session is too small for conclusions: noise or a distant microphone explains most of "
                    "these rates, not the speakers. Use the list to choose what to listen to.",
                    "soft",
                ),
                tables.build_slice_table(comparison, "Worst sessions", sessions),
            ),
        ),
    ]
    return Section.of("slices", "Slices", blocks, "Slices")


def _build_dialect(content: ReportContent) -> Section:
    rare = tables.list_rare_features(content.comparison)
    blocks: list[Block | None] = [
        Paragraph(
            "Error rate of words with a dialect feature (●) and of all other words (□). A dot to the right of its "
            "square shows what the feature costs, together with anything else that these words share. “Dialect” counts "
            "errors that only spell the dialect, like “grasias”.",
            "soft",
        ),
        tables.build_dialect_table(content.comparison),
        Details(f"Too rare for conclusions ({len(rare)})", (BulletList(rare),)),
    ]
    is_measured = bool(content.comparison.dialect_features)
    return Section.of("dialect", "Andalusian speech", blocks if is_measured else ())


def _build_words(content: ReportContent) -> Section:
    comparison, blocks = content.comparison, list[Block | None]()
    if comparison.vocabulary:
        blocks += [
            Heading("Domain terms"),
            Paragraph(sentences.describe_vocabulary(comparison), "soft"),
            measurement_tables.build_vocabulary_table(comparison),
        ]
    confusions = [each for each in sorted(comparison.confusions, key=lambda each: each.model) if each.words]
    if confusions:
        blocks.append(Heading("Confusions (reference → hypothesis)"))
    blocks += [
        Details(
            each.model, tuple(measurement_tables.build_confusion_tables(each)), is_open=each.model == content.focus.name
        )
        for each in confusions
    ]
    punctuation = measurement_tables.build_punctuation_table(comparison)
    if punctuation.rows:
        blocks += [
            Heading("Punctuation and capitals"),
            Paragraph(
                "F1 next to correctly recognised words: 100 % means all marks of the reference and no others.", "soft"
            ),
            punctuation,
        ]
    return Section.of("words", "Words", blocks, "Words")


def _build_invented(content: ReportContent) -> Section:
    comparison = content.comparison
    table = measurement_tables.build_hallucination_table(comparison)
    if not table.rows:
        blocks: list[Block | None] = [Paragraph("Not measured: there are no clips without speech.")]
    else:
        problems = "; ".join(comparison.provenance.non_speech_problems)
        blocks = [
            Paragraph(
                "All models also decode clips without speech, where every word is invented. The model decides alone, "
                "without speech detection and with Whisper's own thresholds. A single kind of sound has too few clips "
                "for conclusions.",
                "soft",
            ),
            table,
            *_list_invented_texts(comparison),
            Paragraph(f"Skipped inputs: {problems}" if problems else "", "soft"),
        ]
    return Section.of("invented", "Invented text", blocks, "Invented text")


def _list_invented_texts(comparison: Comparison) -> Iterator[Details]:
    for model in comparison.models:
        found = model.hallucination.evidence if model.hallucination else ()
        blocks: list[Block] = []
        for kind, members in groupby(sorted(found, key=lambda each: each.of), lambda each: each.of):
            texts = tuple(f"«{each.text}» · {each.detail} · {each.clip_id}" for each in members)
            blocks += [Heading(_EVIDENCE_TITLES[kind]), BulletList(texts, language="es")]
        yield Details(f"Counted texts of {model.name} ({len(found)})", tuple(blocks))


def _build_decoding(content: ReportContent) -> Section:
    comparison, parity = content.comparison, content.comparison.parity
    blocks: list[Block | None] = [
        Paragraph(
            "The table at the top shows speed, memory and cost. A real-time factor below 1 is faster than speech.",
            "soft",
        ),
        Paragraph(describe_speed_run(comparison)),
        measurement_tables.build_decoding_table(comparison),
        BulletList(sentences.describe_failures(comparison)),
    ]
    timing = measurement_tables.build_word_timing_table(comparison)
    if timing.rows:
        blocks += [Heading("Word times"), timing]
    if diarisation := sentences.describe_diarisation(comparison):
        table = measurement_tables.build_diarisation_table(comparison)
        blocks += [
            Heading("Speaker labels"),
            Paragraph(diarisation),
            Details(f"By session ({len(table.rows)})", (table,)),
        ]
    converted = "Not measured."
    if parity:
        converted = (
            f"The converted model and its checkpoint give the same text for {percent(parity.same_text_share, 0)} of "
            f"{parity.clips} clips. The WER of the converted model minus that of the checkpoint is "
            f"{points_with_interval(parity.points)} points."
        )
    return Section.of("decoding", "Decoding", [*blocks, Heading("Conversion"), Paragraph(converted)], "Decoding")


def _build_general_speech(content: ReportContent) -> Section:
    general, text = content.comparison.out_of_domain, ""
    if general:
        text = (
            f"{general.utterances} clips with {general.words} words, which are in no training data. The WER is in the "
            "table at the top, the changes are under Versions."
        )
    return Section.of("general-spanish", "General Spanish", [Paragraph(text)])


def _build_confidence(content: ReportContent) -> Section:
    focus = content.focus
    table = measurement_tables.build_confidence_table(content.comparison)
    blocks: list[Block | None] = [Paragraph("Not measured: no engine reported a confidence.")]
    if table.rows:
        blocks = [Paragraph(sentences.describe_confidence(focus)), table]
    if focus.confidence:
        blocks += [
            Drawing(draw_reliability_diagram(focus.confidence.bins, focus.role)),
            Paragraph(
                f"Confidence and right words of {focus.name}. A dot below the line is a model that is too sure. The area "
                "of a dot is its share of the words.",
                "soft",
            ),
            Details("As a table", (measurement_tables.build_confidence_bin_table(focus),)),
        ]
    return Section.of("confidence", "Does the model know when it is wrong?", blocks, "Confidence")


def _build_examples(content: ReportContent) -> Section:
    kinds = dict.fromkeys(each.kind for each in content.comparison.examples)
    found = [tables.build_example_table(content.comparison, kind) for kind in kinds]
    blocks = [block for table in found for block in (Heading(table.title), table)]
    return Section.of(EXAMPLES_SECTION, "Examples", blocks, "Examples")


def _build_provenance(content: ReportContent) -> Section:
    blocks: list[Block | None] = [
        Paragraph(sentences.describe_method(content.comparison)),
        tables.build_provenance_table(content),
        Paragraph(
            "Next to this page: utterances.parquet (every utterance with the output and errors of each model) and "
            "word_errors.parquet (every wrong word with its neighbours)."
            if content.has_error_tables
            else ""
        ),
    ]
    return Section.of("provenance", "Provenance", blocks, "Provenance")
