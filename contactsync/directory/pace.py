"""Whether to start Numba: a fresh process works for a while before kernels pay for their own start."""

from __future__ import annotations

import sys

START_SECONDS = 0.4  # import numba, and load the first kernel from the cache
WARM_SECONDS = 0.005  # load one more kernel


def kernels_pay(numpy_seconds: float) -> bool:
    """Whether kernels are faster than so many seconds of NumPy: a fresh process pays 0.4 s for Numba."""
    return numpy_seconds > (WARM_SECONDS if "numba" in sys.modules else START_SECONDS)
