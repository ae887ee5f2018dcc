"""Write the locks, which name every package with the sha256 of its files: ``python -m tools.locks``.

    deploy/requirements.lock   what a deployment needs besides torch, with the extras of `EXTRAS`
    deploy/torch-pypi.lock     torch of the package index, with CUDA on Linux
    deploy/torch-cpu.lock      torch of PyTorch's index of CPU builds, for Python 3.11 on Linux with an x86-64 processor
    tools/audit.lock           the tools of `make audit`

No lock has the address of an index, and pip refuses a file that an index replaced. The versions are those of
constraints.txt. If pip finds no CPU build of torch, that lock stays as it is: set PIP_EXTRA_INDEX_URL to PyTorch's index.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
EXTRAS: Final = ("k8s", "postgres", "ray")
OLDEST_PYTHON: Final = "3.11"
_CUDA_PACKAGE: Final = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")
_HEADER: Final = "# Written by `make locks`. Install it with: pip install --require-hashes --no-deps -r"


def compile_requirements(*options: str) -> list[str]:
    """Return the requirements of a source, each with its version and the lines of its hashes."""
    command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", *options]
    command += ["--universal", "--python-version", OLDEST_PYTHON]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
    text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [each for each in re.split(r"^(?=\S)", text, flags=re.M) if each.strip()]


def hash_cpu_build(version: str) -> str | None:
    """Return the requirement of torch's CPU build with the hash of its wheel, or None if pip does not find it."""
    requirement = f"torch=={version}+cpu"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        if subprocess.run(command, check=False).returncode != 0:
            return None
        (wheel,) = Path(folder).iterdir()
        with wheel.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return f"{requirement} \\\n    --hash=sha256:{digest}\n"


def write_lock(name: str, requirements: list[str]) -> None:
    """Write a lock and say so."""
    path = ROOT / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{_HEADER} {name}\n{''.join(requirements)}", "utf-8")
    print(f"{name}: {len(requirements)} packages")


def main() -> None:
    """Write all locks."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    found = compile_requirements("pyproject.toml", "--constraint", "constraints.txt", *extras)
    cuda = [each for each in found if _CUDA_PACKAGE.match(each)]
    write_lock("deploy/requirements.lock", [each for each in found if each not in cuda])
    write_lock("deploy/torch-pypi.lock", cuda)
    torch = next(each for each in cuda if each.startswith("torch=="))
    cpu = hash_cpu_build(torch.split()[0].removeprefix("torch=="))
    if cpu is None:
        print(
            "deploy/torch-cpu.lock stays as it is: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds, and run again"
        )
    else:
        write_lock("deploy/torch-cpu.lock", [cpu])
    write_lock("tools/audit.lock", compile_requirements("--group", "audit"))


if __name__ == "__main__":
    main()
