"""The page and the command of a bundle."""

from __future__ import annotations

from typing import Final

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.training.bundle.manifest import BundleManifest

LAUNCH_SCRIPT: Final = """#!/bin/sh
# Install what the training needs, once, and train; run it again to resume.
# PYTHON names the Python 3.11 or newer for the environment. BUNDLE_PYTHON names one that has the packages already.
set -eu
cd "$(dirname "$0")"
python="${BUNDLE_PYTHON:-}"
if [ -z "$python" ]; then
    python=venv/bin/python
    if [ ! -f venv/.complete ]; then
        "${PYTHON:-python3}" -m venv venv
        "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
        touch venv/.complete
    fi
fi
PYTHONPATH=code PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 exec "$python" -m habla_ml.training.bundle "$@"
"""
_PAGE: Final = """# Training of {version}

This folder has everything for the training of the model version {version} on another machine.

```
./train.sh
```

It makes an environment in `venv` (Python 3.11 or newer, about 6 GB with CUDA), checks every file, and trains. After a
kill, the same command resumes. At the end it writes `result`. Copy `bundle.json` and `result` back, and run
`habla-ml train import FOLDER` where the bundle was made.

## It contains voices

- {clips}
- They are voices of people, many of them children, who consented to a purpose. Use them for this training only.
- There are no names of people, sessions or segments in it. A voice alone can still be recognised, and a sentence can say a name.
- Rent a machine whose disk nobody else reads, in a country that the consents allow. Send the folder over an encrypted connection.
- Delete the whole folder there, with `venv` and `work`, as soon as the result is imported.
- When a consent is withdrawn, delete every copy of this folder. A result that was trained on an erased voice is not imported.
{speech}
"""


def describe_bundle(manifest: BundleManifest, snapshot: Snapshot) -> str:
    """Return the page of a bundle."""
    hours, counts = snapshot.hours, snapshot.counts
    clips = "; ".join(
        f"{split}: at most {counts[split]} clips, {hours[split]:.2f} h" for split in ("train", "validation")
    )
    sources = {each.name: each for stage in manifest.stages for each in stage.general_speech}
    lines = [f"- {name}: {each.clips} clips, licence {each.licence or 'not stated'}" for name, each in sources.items()]
    speech = "\n".join(["\n## General speech\n", *lines]) if lines else ""
    return _PAGE.format(version=manifest.version, clips=clips, speech=speech)
