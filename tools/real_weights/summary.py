"""The summary of a run as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render_summary(figures: Mapping[str, Any]) -> str:
    """Return the figures of `measure_everything`, with times and extent, as Markdown."""
    test = figures["test"]
    base, tuned = figures["models"][0], figures["models"][-1]
    parts = [
        f"# whisper-base before and after {figures['steps']} steps",
        *(["Made with `--quick`: these figures are no result."] if figures["is_quick"] else []),
        f"{test['clips']} clips of {test['sessions']} sessions, {test['words']} words, as served. {figures['hardware']}.",
        _render_table(
            ("", base["model"], tuned["model"]),
            [
                (
                    "WER, classroom",
                    *(_format_rate([one["wer"], *(one["wer_interval"] or ())]) for one in (base, tuned)),
                ),
                *((name, *(_format_metric(one, key) for one in (base, tuned))) for key, name in _METRICS),
                ("silent clips with text", *(_format_silence(one) for one in (base, tuned))),
                ("word time error", *(_format_unit(one["word_time_error_ms"], "ms", 0) for one in (base, tuned))),
            ],
        ),
        "## Both prompts, greedy",
        _render_table(
            ("model", "speech", "timestamps", "clips", "WER", "error of the last end", "ends 0.5 s after the clip"),
            [_format_prompt(each) for each in figures["prompts"]],
        ),
        "## Serving profiles of the fine-tuned model",
        _render_table(
            ("profile", "WER", "clips without text"),
            [(each["profile"], _format_percent(each["wer"]), str(each["empty"])) for each in figures["profiles"]],
        ),
        "## Digits",
        _render_table(
            ("model", "clips with digits", "WER, digits read as words", "WER, digits as written"),
            [
                (
                    each["model"],
                    f"{each['clips_with_digits']} of {each['clips']}",
                    _format_percent(each["wer"]),
                    _format_percent(each["wer_as_written"]),
                )
                for each in figures["digits"]
            ],
        ),
        "## Formats",
        _format_parity(figures["parity_int8"]),
        _render_table(
            ("format", "type", "MB", "clips", "WER", "WER as served", "measured parity"),
            [_format_export(each) for each in figures["formats"]],
        ),
        *(f"{each['format']}: {each['reason']}" for each in figures["skipped_formats"]),
        "## WhisperX",
        _format_whisperx(figures["whisperx"]),
        "## Seconds",
        _render_table(("step", "s"), [(name, f"{value:.0f}") for name, value in figures["seconds"].items()]),
        f"Released: {'yes' if figures['is_released'] else 'no, the promotion rule refused it'}.",
        f"Report: {figures['report']}",
    ]
    return "\n\n".join(parts) + "\n"


_METRICS = (
    ("out_of_domain_wer", "WER, general Spanish"),
    ("orthographic_wer", "WER as written"),
    ("cer", "CER"),
    ("deletions", "deleted words"),
    ("insertions", "inserted words"),
)


def _render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def _format_percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _format_rate(values: Sequence[float | None]) -> str:
    """Format value, low and high."""
    text = _format_percent(values[0])
    bounds = [each for each in values[1:] if each is not None]
    return f"{text} ({100 * bounds[0]:.1f}–{100 * bounds[1]:.1f})" if len(bounds) == 2 else text


def _format_metric(model: Mapping[str, Any], key: str) -> str:
    return _format_rate(model["metrics"].get(key, [None]))


def _format_silence(model: Mapping[str, Any]) -> str:
    return "–" if model["silent_clips"] is None else f"{model['silent_clips_with_text']} of {model['silent_clips']}"


def _format_unit(value: float | None, unit: str, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f} {unit}"


def _format_prompt(score: Mapping[str, Any]) -> tuple[str, ...]:
    interval = score["interval"]
    bounds = [] if interval is None else [interval["low"], interval["high"]]
    return (
        score["model"],
        score["speech"],
        "yes" if score["timestamps"] else "no",
        str(score["clips"]),
        _format_rate([score["wer"], *bounds]),
        _format_unit(score["end_error_s"], "s", 2),
        "–" if score["late_ends"] is None else str(score["late_ends"]),
    )


def _format_parity(parity: Mapping[str, Any] | None) -> str:
    if parity is None:
        return "The int8 conversion was not compared with its checkpoint."
    points = parity["points"]
    change = (
        "" if points is None else f"{points['value']:+.1f} points ({points['low']:+.1f} to {points['high']:+.1f}), "
    )
    same = _format_percent(parity["same_text_share"])
    return f"CTranslate2 int8 against its checkpoint, greedy, {parity['clips']} clips: {change}{same} same texts."


def _format_whisperx(found: Mapping[str, Any]) -> str:
    if "skipped" in found:
        return f"{found['skipped']}."
    models = (f"{name} {_format_percent(each['wer'])}" for name, each in found["models"].items())
    return f"WER on {found['clips']} clips: {', '.join(models)}."


def _format_export(export: Mapping[str, Any]) -> tuple[str, ...]:
    parity = export["parity"] or {}
    return (
        export["format"],
        export["quantisation"],
        f"{export['size_bytes'] / 1e6:.0f}",
        str(export["clips"]),
        _format_percent(export["wer"]),
        _format_percent(export["served_wer"]),
        ", ".join(f"{key} {value:.4g}" for key, value in parity.items()) or "–",
    )
