"""`python -m habla_ml.annotation.sources.label_studio.launch PROGRAM ARGUMENT…`: become PROGRAM, and end with the parent.

The server knows nothing of us, so this process asks the kernel to be killed with the one that started it and then
turns into the server. Elsewhere than on Linux nothing survives that turn, and the parent must end the server itself.
"""

from __future__ import annotations

import os
import sys

from habla_ml.process import die_with_parent


def main() -> None:
    """Replace this process by the program of the arguments."""
    if sys.platform == "linux":
        die_with_parent(os.getppid())
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606


if __name__ == "__main__":
    main()
