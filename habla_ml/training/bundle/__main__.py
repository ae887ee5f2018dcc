"""`python -m habla_ml.training.bundle`."""

import sys

from habla_ml.training.bundle.training import main

if __name__ == "__main__":
    sys.exit(main())
