"""Labels."""

from typing import Final

KEY_BYTES: Final = 32
