"""contactsync: contact discovery that does not give your address book to anyone.

What stands in `__all__` is the public library (docs/library.md); everything else may change. A name is loaded
when it is first used, so that importing the package costs nothing. `__init__.pyi` has the types.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "Added": "contactsync.server.storage.records",
    "AddressBook": "contactsync.contacts",
    "Client": "contactsync.library.client",
    "ContactSyncError": "contactsync.foundation.errors",
    "Explained": "contactsync.library.identifying",
    "LastFound": "contactsync.library.found",
    "Introduction": "contactsync.library.trusting",
    "Options": "contactsync.client.core.planner",
    "Outcome": "contactsync.server.publishing.merge",
    "Sending": "contactsync.library.client",
    "Server": "contactsync.library.server",
    "SyncResult": "contactsync.library.client",
    "address_book": "contactsync.library.books",
    "book_of_numbers": "contactsync.library.books",
    "explain": "contactsync.library.identifying",
    "warm_up": "contactsync.library.warming",
}

__all__ = [*_PLACES, "__version__"]  # noqa: PLE0604 - they are names


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
