"""Audit what the project depends on: ``make audit``, which CI runs.

    advisories   pip-audit on every file of pins; where no source of advisories answers, it says so and does not fail
    components   build/audit/sbom.cdx.json, a list of the installed packages with licences in CycloneDX

It runs in the environment of `tools/audit.lock`, and exits with 1 if it found an advisory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
PINS: Final = ("constraints.txt", "constraints-label-studio.txt", "constraints-whisperx.txt")
BILL_OF_MATERIALS: Final = "build/audit/sbom.cdx.json"
HARMLESS_ADVISORIES: Final[dict[str, str]] = {}
"""Advisories that do not concern the project → why; an entry goes when the package is updated."""
_SECONDS: Final = 900


@dataclass(frozen=True)
class AuditResult:
    """What one part of the audit found."""

    subject: str
    summary: str
    faults: tuple[str, ...] = ()


def run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment in the project's folder; its exit status says what it found."""
    command = [str(Path(sys.executable).parent / name), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS)


def audit_pins(name: str) -> AuditResult:
    """Look up the advisories about every version in a file of pins."""
    subject = f"advisories of {name}"
    pins = [line for line in (ROOT / name).read_text("utf-8").splitlines() if "==" in line and not line.startswith("#")]
    # One package shows whether a source answers: an index without advisories answers 404 to all of them.
    probe = _ask_advisories(pins[:1])
    if isinstance(probe, str) or all("skip_reason" in each for each in probe):
        reason = probe if isinstance(probe, str) else str(probe[0]["skip_reason"])
        return AuditResult(subject, f"NOT AUDITED, no source of advisories answers: {reason}")
    found = _ask_advisories(pins)
    if isinstance(found, str):
        return AuditResult(subject, f"NOT AUDITED: {found}")
    skipped = [f"{each['name']}" for each in found if "skip_reason" in each]
    faults = tuple(
        f"{each['name']} {each['version']}: {advisory['id']}, fixed in {', '.join(advisory['fix_versions']) or 'no version'}"
        for each in found
        for advisory in each.get("vulns", [])
        if not {advisory["id"], *advisory.get("aliases", [])} & set(HARMLESS_ADVISORIES)
    )
    unknown = f", no answer about {', '.join(skipped)}" if skipped else ""
    return AuditResult(subject, f"{len(found) - len(skipped)} packages, {len(faults)} advisories{unknown}", faults)


def _ask_advisories(pins: list[str]) -> list[dict[str, Any]] | str:
    """Return pip-audit's entry of each package, or why there is none."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        options = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "30")
        done = run_tool("pip-audit", "--requirement", file.name, *options)
    try:
        entries: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip-audit printed nothing"
    return entries


def write_components(environment: str) -> AuditResult:
    """Write the list of the packages that are installed in an environment."""
    target = ROOT / BILL_OF_MATERIALS
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ("--pyproject", "pyproject.toml", "--output-reproducible")
    done = run_tool("cyclonedx-py", "environment", environment, *options, "--output-file", str(target))
    if done.returncode != 0:
        return AuditResult("components", "not written", (done.stderr.strip(),))
    components = json.loads(target.read_text("utf-8"))["components"]
    return AuditResult("components", f"{len(components)} packages in {BILL_OF_MATERIALS}")


def main() -> int:
    """Print each result; return the exit status."""
    environment = sys.argv[1] if len(sys.argv) > 1 else ".venv"
    results = [*map(audit_pins, PINS), write_components(environment)]
    for each in results:
        print(f"{each.subject}: {each.summary}")
        for fault in each.faults:
            print(f"  {fault}")
    return 1 if any(each.faults for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
