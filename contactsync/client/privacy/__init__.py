"""The privacy modes: one file each, named in one table here. core/mode.py says what such a file has to offer.

The table is light, so that `--help` need not load what only a sync needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from contactsync.client.core.mode import Mode

DEFAULT: Final = "download"
MODES: Final = {
    "download": "match on this machine only",
    "screen": "download far less, but the server also sees which buckets are fetched for contacts that pass "
    "a filter",
}
"""What `--privacy` takes, and what its help says of it. The mode is `MODE` in the module of that name."""


def load_modes() -> dict[str, Mode]:
    """Every mode by its name, in the order of the table."""
    return {name: importlib.import_module(f"{__name__}.{name}").MODE for name in MODES}
