"""The privacy modes: one file each, listed in a table here. core/mode.py defines their interface.

The table imports nothing, so that `--help` does not load what only a sync needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from contactsync.client.core.mode import Mode

DEFAULT: Final = "download"
TWO_SERVER: Final = "two-server"
MODES: Final = {
    "download": "match on this machine only",
    TWO_SERVER: "download little, and ask a second server, which you have trusted, too: neither learns who "
    "the contacts are, unless they tell each other",
    "screen": "download far less, but the server also sees which buckets are fetched for contacts that pass "
    "a filter",
}
"""The values of `--privacy`, with their help texts. The mode is `MODE` in the module of that name."""


def load_modes() -> dict[str, Mode]:
    """Every mode by its name, in the order of the table."""
    return {name: importlib.import_module(f"{__name__}.{name.replace('-', '_')}").MODE for name in MODES}
