from contactsync.client.core.planner import Options as Options
from contactsync.contacts import AddressBook as AddressBook
from contactsync.foundation.errors import ContactSyncError as ContactSyncError
from contactsync.library.books import address_book as address_book
from contactsync.library.books import book_of_numbers as book_of_numbers
from contactsync.library.client import Client as Client
from contactsync.library.client import Sending as Sending
from contactsync.library.client import SyncResult as SyncResult
from contactsync.library.found import LastFound as LastFound
from contactsync.library.identifying import Explained as Explained
from contactsync.library.identifying import explain as explain
from contactsync.library.server import Server as Server
from contactsync.library.trusting import Introduction as Introduction
from contactsync.library.warming import warm_up as warm_up
from contactsync.server.publishing.merge import Outcome as Outcome
from contactsync.server.storage.records import Added as Added

__version__: str
__all__ = [
    "Added",
    "AddressBook",
    "Client",
    "ContactSyncError",
    "Explained",
    "Introduction",
    "LastFound",
    "Options",
    "Outcome",
    "Sending",
    "Server",
    "SyncResult",
    "__version__",
    "address_book",
    "book_of_numbers",
    "explain",
    "warm_up",
]
