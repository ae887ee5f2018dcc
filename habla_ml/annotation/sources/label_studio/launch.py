"""`python -m habla_ml.annotation.sources.label_studio.launch PROGRAM ARGUMENT…`: run PROGRAM until the parent ends.

This process asks the kernel to be killed with its parent, and then replaces itself by the server. On other systems
than Linux the request does not survive the replacement, and the parent must end the server itself.
"""

from __future__ import annotations

import os
import sys

from habla_ml.process import die_with_parent


def main() -> None:
    """Replace this process by the program in the arguments."""
    if sys.platform == "linux":
        die_with_parent(os.getppid())
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606


if __name__ == "__main__":
    main()
