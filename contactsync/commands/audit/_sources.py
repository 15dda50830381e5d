"""Where the audits get a publication from: a folder, or a server with what reaches it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from contactsync.commands._options import read_credential
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from contactsync.audit.sources import PublicationSource


def require_tls(url: str) -> None:
    """Raise BadInput if a credential would cross a network in the clear."""
    from contactsync.client.state import is_in_clear

    if is_in_clear(url):
        raise BadInput(f"{url} has no TLS: anyone on the way could read the credential", hint="use https://")


@contextlib.contextmanager
def opened_source(
    source: str, *, credential_file: Path | None = None, proxy: str | None = None, ca_file: Path | None = None
) -> Iterator[PublicationSource]:
    """A publication in a folder or at a URL. Raises BadInput: none, or options that do not go with it."""
    from contactsync.audit.sources import FolderSource, ServerSource

    if "://" not in source:
        yield FolderSource(Path(source))
        return
    from contactsync.client.state import canonical_url
    from contactsync.client.transport import Transport
    from contactsync.foundation.route import Route

    url = canonical_url(source)
    if credential_file is not None:
        require_tls(url)
    credential = None if credential_file is None else read_credential(credential_file)
    transport = Transport(url, credential=credential, route=Route.to(url, proxy=proxy, ca_file=ca_file))
    try:
        yield ServerSource(transport)
    finally:
        transport.close()
