"""Orchestration with Dagster, by topic: corpus, models, releases, monitoring.

The `build` function of a topic returns its assets, checks, sensors and schedules. An asset resolves its inputs, calls
the domain and presents the result; everything that computes lives in a package that does not import Dagster.
"""

import sys

from habla_ml.errors import HablaError
from habla_ml.platform_support import describe_unsupported_platform

# Every module below needs POSIX; without this check Dagster would show a missing module instead of the next step.
if (problem := describe_unsupported_platform(sys.platform)) is not None:
    raise HablaError(problem)
