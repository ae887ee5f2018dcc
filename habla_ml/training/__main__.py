"""`python -m habla_ml.training`."""

import sys

from habla_ml.training.process import main

if __name__ == "__main__":
    sys.exit(main())
