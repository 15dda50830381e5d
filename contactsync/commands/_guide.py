"""What `contactsync` alone says: what to do first, and once that is done, what next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contactsync.commands._configuration import default_path
from contactsync.commands._options import open_state
from contactsync.foundation.errors import ContactSyncError, OurError

if TYPE_CHECKING:
    from contactsync.library.state import State

_TRUST: Final = """\
contactsync finds out which of your contacts are members of a service, without
uploading them.

1. Ask the operator of the service for three things: its address, its
   fingerprint, and a credential for you. Save the credential in a file that
   only you can read (chmod 600).
2. contactsync trust https://ADDRESS
   It shows the fingerprint. Compare it with the one you were told.
3. contactsync sync contacts.vcf --credential-file FILE --region XX
   contacts.vcf is an export of your address book, XX your country, such as DE.

`contactsync docs using` is the guide, `contactsync --help` lists the commands.
No service yet? `contactsync demo` shows everything on this machine."""

_SYNC: Final = """\
{servers} trusted. Next:

contactsync sync contacts.vcf --credential-file FILE --region XX
                             who of the contacts in the file is a member
contactsync config init      so that `contactsync sync` alone does it all
contactsync explain NUMBER   what would be looked up
contactsync docs using       the guide"""

_AGAIN: Final = """\
{servers} trusted; last sync: {last}.

contactsync sync{file:<13}what is new since then
contactsync matches          who was found, without the network
contactsync search NAME      whether one of them is NAME
contactsync status           what is stored, and what the servers were told
{config}contactsync --help           all commands"""

_CONFIG: Final = "contactsync config init      so that `contactsync sync` alone does it all\n"
_FILE: Final = " FILE --credential-file FILE\n" + " " * 29


def next_steps() -> str:
    """The text for the state of this user. It reads small files only."""
    try:
        folder = os.environ.get("CONTACTSYNC_STATE")
        state = open_state(Path(folder) if folder else None)
        servers = state.servers()
    except (ContactSyncError, OSError):
        return "Some of the stored data cannot be read: `contactsync status` says more."
    if not servers:
        return _TRUST
    known = servers[0].url + " is" if len(servers) == 1 else f"{len(servers)} servers are"
    last = _last(state)
    if last is None:
        return _SYNC.format(servers=known)
    configured = Path(os.environ.get("CONTACTSYNC_CONFIG") or default_path()).exists()
    config, file = ("", "") if configured else (_CONFIG, _FILE)
    return _AGAIN.format(servers=known, last=last, config=config, file=file)


def _last(state: State) -> str | None:
    """The time of the last sync of all; None if there was none."""
    from contactsync.library.found import last_syncs

    times = []
    for server in state.servers():
        try:
            times += [one.last.when for one in last_syncs(state, server.url)]
        except OurError:
            continue
    return f"{max(times):%Y-%m-%d %H:%M}" if times else None
