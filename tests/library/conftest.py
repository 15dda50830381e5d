"""Helpers of the server's tests, for the library that stands on it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "server"))
