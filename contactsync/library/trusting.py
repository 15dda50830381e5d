"""Meeting a server for the first time, or again: its fingerprint is compared before it is pinned."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from contactsync.client.state import is_in_clear
from contactsync.client.transport import Transport
from contactsync.client.trust import fetch_root, find_root, leads_to, read_fingerprint
from contactsync.foundation.errors import BadInput, BadSignature, NotTrusted, OurError
from contactsync.foundation.route import Route
from contactsync.library.fingerprints import grouped, root_fingerprint
from contactsync.library.second import SecondServer, meet_second
from contactsync.library.state import ServerState, State, canonical_url
from contactsync.library.watching import LogChoice, Watched


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a server shows of itself. Nothing is stored until `accept`.

    `fingerprint` is of the root that is to be pinned: compare it with what the operator told you over
    another channel. `is_known`: the server is trusted already, and the root follows from the pinned one.
    """

    url: str
    fingerprint: str
    is_known: bool
    _root: bytes = field(repr=False)
    _authorities: bytes | None = field(repr=False)
    _known: ServerState | None = field(repr=False)
    _state: State = field(repr=False)
    watched: Watched = field(default_factory=Watched)
    """Who watches the server's log, by what it shows now, or as was asked for."""
    _choice: LogChoice = field(default_factory=LogChoice, repr=False)
    _newest: bytes = field(default=b"", repr=False)
    second: SecondServer | None = None
    """The mirror that is asked too where a sync asks two, if one was given."""

    @property
    def is_refused(self) -> bool:
        """It is trusted already with another root, so `accept` would raise."""
        return self._known is not None and not self.is_known

    def accept(self) -> None:
        """Pin the server. Raises BadSignature if it is trusted already with another root."""
        if self.is_known and self._known is not None:
            if self._authorities is not None:
                self._known.remember_authorities(self._authorities)
            self._choice.apply(self._known, self._newest)
            if self.second is not None:
                self.second.remember(self._known)
            return
        if self._known is not None:
            raise BadSignature(
                f"{self.url} is already trusted with another root, {grouped(self._known.fingerprint)};"
                " nothing was changed",
                hint="ask the operator why; if the change is right, run trust again with --replace",
            )
        pinned = self._state.pin(self.url, self._root, self._authorities)
        self._choice.apply(pinned, self._newest)
        if self.second is not None:
            self.second.remember(pinned)


def introduce(
    state: State,
    url: str,
    *,
    fingerprint: str | None = None,
    ca_file: Path | None = None,
    proxy: str | None = None,
    allow_plain_http: bool = False,
    replace: bool = False,
    choice: LogChoice | None = None,
    second: str | None = None,
    second_ca_file: Path | None = None,
) -> Introduction:
    """Fetch the root of a server. With a `fingerprint` it is the root that has it, the newest or an earlier.

    `replace`: what is known of the server does not count; forget it before `accept`. `choice` is the user's
    own of who must watch its log. `second` is the URL of a mirror for private look-up, or "none", and
    `second_ca_file` has its TLS authorities; `second.meet_second` says what it must be. Raises BadInput,
    BadSignature (the fingerprint is another one), NetworkError, OurError.
    """
    choice = choice or LogChoice()
    expected = None if fingerprint is None else read_fingerprint(fingerprint)
    url = canonical_url(url)
    if is_in_clear(url) and not allow_plain_http:
        raise BadInput(
            f"{url} is not encrypted: the credential would cross the network in the clear",
            hint="use https://, or --allow-plain-http if the connection is protected in another way",
        )
    known = _known(state, url, replace=replace)
    route = Route.to(url, proxy=proxy, ca_file=ca_file or (known.ca_file if known else None))
    transport = Transport(url, route=route)
    newest = fetch_root(transport)
    root = newest if expected is None else find_root(transport, newest, expected)
    is_same = False
    if known is not None and not replace:
        _mend_root(known, transport, newest)
        is_same = leads_to(transport, known, newest)
    transport.close()
    if root is None:
        raise BadSignature(
            f"the fingerprint of {url} is not the one you gave; nothing was stored",
            hint=f"the server's is {grouped(root_fingerprint(newest))}: ask the operator which one is right",
        )
    accepted = route.ca_file
    # Of a server that is known already, only those that were given now are remembered.
    authorities = None if accepted is None or (is_same and ca_file is None) else accepted.read_bytes()
    known = None if replace else known
    choice, watched = choice.for_root(newest)
    fingerprint = root_fingerprint(root)
    met = None
    if second is not None:
        met = meet_second(
            url,
            second,
            fingerprint,
            proxy=proxy,
            ca_file=second_ca_file,
            allow_plain_http=allow_plain_http,
        )
    return Introduction(
        *(url, fingerprint, is_same, root, authorities, known, state, watched, choice, newest, met)
    )


def check_route(url: str, *, ca_file: Path | None = None, proxy: str | None = None) -> None:
    """Whether requests could go this way. Raises BadInput: authorities or proxy cannot be used."""
    Route.to(url, proxy=proxy, ca_file=ca_file)


def _known(state: State, url: str, *, replace: bool) -> ServerState | None:
    """The server, if it is trusted already. What is damaged counts as nothing, if it is to be replaced."""
    try:
        return state.server(url)
    except NotTrusted:
        return None
    except OurError:
        if replace:
            return None
        raise


def _mend_root(known: ServerState, transport: Transport, newest: bytes) -> None:
    """Fetch the pinned root again, if it is damaged: the fingerprint that was confirmed says which it is."""
    try:
        _ = known.root
    except OurError as error:
        root = find_root(transport, newest, known.fingerprint)
        if root is None:
            raise BadSignature(
                f"{known.url} does not have the root that it was trusted with; nothing was changed",
                hint="ask the operator why; if that is right, run trust again with --replace",
            ) from error
        known.restore_root(root)
