"""What each worker process of `serve --workers` runs. Its supervisor starts it (serving.py)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from contactsync.foundation.errors import BadInput, ContactSyncError
from contactsync.server.http.attached import PROTOCOL, read_orders
from contactsync.server.http.serve import STORE_WAIT, WorkerShare, serve
from contactsync.server.keyring import Keyring
from contactsync.server.logs import VARIABLE, set_up_logging
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_accounts
from contactsync.serving.limits import networks
from contactsync.serving.running import Entrance
from contactsync.serving.tls import Certificate


def main() -> int:
    """Work until the supervisor says otherwise, or has ended; the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as channel:
        os.close(0)
        os.open(os.devnull, os.O_RDONLY)
        try:
            _work(channel)
        except ContactSyncError as error:
            hint = f"hint: {error.hint}\n" if error.hint else ""
            sys.stderr.write(f"error: {error}\n{hint}")
            return error.exit_code
    return 0


def _work(channel: socket.socket) -> None:
    orders: dict[str, Any] = read_orders(channel)
    if orders.get("protocol") != PROTOCOL:
        raise BadInput("this version cannot work for the one that runs", hint="restart `serve`")
    set_up_logging("json" if os.environ.get(VARIABLE) == "json" else "text")
    folder = DataFolder.existing(Path(orders["data"]))
    passphrase = None if orders["passphrase"] is None else bytes.fromhex(orders["passphrase"])
    keyring = Keyring.open(folder.keys, passphrase)
    certificate = None if orders["tls"] is None else Certificate(*map(Path, orders["tls"]))
    listeners = [socket.socket(fileno=number) for number in orders["listeners"]]
    entrance = Entrance(listeners, certificate, networks(orders["trusted"]))
    share = WorkerShare(orders["number"], orders["workers"], channel)
    with contextlib.closing(open_accounts(folder, wait=STORE_WAIT)) as store:
        serve(
            folder,
            store,
            keyring,
            entrance,
            lambda _: None,
            origins=orders.get("origins", ()),
            has_page=orders.get("has_page", False),
            redirects=orders.get("redirects", False),
            private_lookup=orders.get("private_lookup", False),
            share=share,
        )


if __name__ == "__main__":
    sys.exit(main())
