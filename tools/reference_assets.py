"""The generated page of the asset graph: assets, their checks, and what starts them. `tools.reference_pages` writes it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import dagster as dg

from habla_ml.definitions import build_definitions
from habla_ml.defs.jobs import NEW_VERSION, list_job_assets
from habla_ml.settings import Settings, load_settings

_PROFILE: Final = Path(__file__).resolve().parent.parent / "configs" / "local.yaml"
_OPTIONAL_ASSETS: Final = {
    "HABLA_EXPORT__ONNX_QUANTISATION": "int8",
    "HABLA_EXPORT__GGML_QUANTISATION": "q8_0",
    "HABLA_EXPORT__CHECKPOINT_ARCHIVE": "true",
    "HABLA_RELEASE__HUB__REPOSITORY": "our-school/habla-andalusian",
}
_GROUPS: Final = ("corpus", "models", "releases", "operations")
_INTRODUCTION: Final = """\
Everything that Dagster shows, with the settings of the profile `local` and all optional formats. The jobs under
*Started by* build an asset, and so does *Materialize* in the UI."""


def render_assets() -> str:
    """Return the page of all assets, jobs, sensors and schedules."""
    with tempfile.TemporaryDirectory() as recordings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = load_settings(_PROFILE, {"HABLA_RECORDINGS__FOLDER": recordings, **_OPTIONAL_ASSETS})
        definitions = build_definitions(settings)
        repository = definitions.get_repository_def()
    jobs = {each.name: each for each in repository.get_all_jobs() if not each.name.startswith("__")}
    assets_by_job = {name: () if name == NEW_VERSION else list_job_assets(name, settings) for name in jobs}
    graph = definitions.resolve_asset_graph()
    nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    lines = ["# Assets", "", *_INTRODUCTION.splitlines(), ""]
    for group in _GROUPS:
        lines += [f"## {group.capitalize()}", ""]
        names = sorted((name for name in nodes if nodes[name].group_name == group), key=_order_by_depth(nodes))
        for name in names:
            lines += _render_asset(graph, nodes[name], [job for job, assets in assets_by_job.items() if name in assets])
    lines += ["## Jobs", "", "| job | does | assets, in order |", "|---|---|---|"]
    for name, job in sorted(jobs.items()):
        assets = ", ".join(f"`{each}`" for each in assets_by_job[name]) or "none"
        lines.append(f"| `{name}` | {_cell(job.description)} | {assets} |")
    return "\n".join([*lines, "", *_render_automation(repository, settings)]) + "\n"


def _order_by_depth(nodes: dict[str, Any]) -> Any:
    @cache
    def measure(name: str) -> int:
        return 1 + max((measure(each.to_user_string()) for each in nodes[name].parent_keys), default=-1)

    return lambda name: (measure(name), name)


def _render_asset(graph: Any, node: Any, jobs: list[str]) -> Iterator[str]:
    yield from (f"### {node.key.to_user_string()}", "")
    depends_on = sorted(each.to_user_string() for each in node.parent_keys)
    yield from (
        "| | |",
        "|---|---|",
        f"| What | {_cell(node.description)} |",
        f"| Partitions | {_describe_partitions(node.partitions_def)} |",
        f"| Depends on | {', '.join(f'[`{each}`](#{each})' for each in depends_on) or 'nothing in the graph'} |",
        f"| Started by | {', '.join(f'`{each}`' for each in sorted(jobs)) or '*Materialize*'} |",
    )
    for check in sorted(node.check_keys):
        yield f"| Check `{check.name}` | {_cell(graph.get(check).description)} |"
    yield ""


def _describe_partitions(partitions: Any) -> str:
    if partitions is None:
        return "none"
    if isinstance(partitions, dg.DynamicPartitionsDefinition):
        return "model version"
    return {"0 0 * * *": "day of the recording", "0 * * * *": "hour of receipt, UTC"}[partitions.cron_schedule]


def _render_automation(repository: Any, settings: Settings) -> Iterator[str]:
    yield from ("## Sensors", "", "| sensor | looks every | starts | when |", "|---|---|---|---|")
    for sensor in sorted(repository.sensor_defs, key=lambda each: each.name):
        starts = ", ".join(f"`{each.job_name}`" for each in sensor.targets) or "–"
        yield f"| `{sensor.name}` | {sensor.minimum_interval_seconds} s | {starts} | {_cell(sensor.description)} |"
    yield from ("", f"## Schedules, in the zone {settings.time_zone}", "")
    yield from ("| schedule | cron | starts | does |", "|---|---|---|---|")
    for schedule in sorted(repository.schedule_defs, key=lambda each: each.name):
        does = _cell(schedule.description)
        yield f"| `{schedule.name}` | `{schedule.cron_schedule}` | `{schedule.job_name}` | {does} |"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
