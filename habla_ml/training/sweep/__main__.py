"""`python -m habla_ml.training.sweep`."""

import sys

from habla_ml.training.sweep.process import main

if __name__ == "__main__":
    sys.exit(main())
