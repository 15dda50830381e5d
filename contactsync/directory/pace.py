"""Whether to start Numba: a fresh process works for a while before kernels pay for their own start."""

from __future__ import annotations

import sys

START_SECONDS = 0.4  # import numba, and load the first kernel from the cache
LOAD_SECONDS = 0.01  # load the first of this package's kernels into a process that has Numba
CALL_SECONDS = 0.0001


def kernels_pay(numpy_seconds: float) -> bool:
    """Whether kernels are faster than so many seconds of NumPy, in this process as it is now."""
    if "contactsync.kernels.elias_fano" in sys.modules:
        return numpy_seconds > CALL_SECONDS
    return numpy_seconds > (LOAD_SECONDS if "numba" in sys.modules else START_SECONDS)
