"""Tests of habla_ml, in folders as in the package; shared fixtures are in `testing`."""

import os

# Two workers with two threads each on two cores would spin while they wait for each other. Torch reads the variables when
# it is imported, and processes inherit them.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")
