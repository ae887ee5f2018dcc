"""Entry point of the `habla-ml` command: the check of the operating system, then the commands.

Nothing here may import a module that needs POSIX; the commands do.
"""

import sys

from habla_ml.platform_support import describe_unsupported_platform


def main() -> None:
    """Run a command; on an unsupported operating system print what to do and exit with 1."""
    problem = describe_unsupported_platform(sys.platform)
    if problem is not None:
        print(f"error {problem}", file=sys.stderr)
        sys.exit(1)
    from habla_ml.cli.main import main as run_command

    run_command()
