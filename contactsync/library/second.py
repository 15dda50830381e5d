"""The second server of a private look-up: whether it can be one, and the way to it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contactsync.client.core.planner import Options
from contactsync.client.meter import CONNECT_SECONDS
from contactsync.client.patience import Patience
from contactsync.client.privacy import TWO_SERVER
from contactsync.client.state import ServerState, canonical_url, is_in_clear
from contactsync.client.transport import Transport
from contactsync.client.trust import fetch_root, find_root
from contactsync.foundation.errors import BadInput, BadSignature, NetworkError, NotTrusted
from contactsync.foundation.loopback import is_loopback
from contactsync.foundation.route import PORTS, Route

NOBODY = "none"
"""What `trust --second` takes for: none any more."""

_NETWORK_BITS = {4: 24, 6: 48}  # what one customer of a network has at most, as a rule


@dataclass(frozen=True, slots=True)
class SecondServer:
    """A second server that was met, by its canonical URL; None: none any more.

    `authorities` are those whose TLS certificates it may have, as PEM; None: the system's.
    """

    url: str | None
    authorities: bytes | None = None

    def remember(self, server: ServerState) -> None:
        """Ask it too, from now on, where a sync asks two."""
        server.remember_second(self.url, self.authorities)


def meet_second(
    first: str,
    second: str,
    fingerprint: str,
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    allow_plain_http: bool = False,
) -> SecondServer:
    """Check that a server can be the second one beside `first`: a mirror of it, and not at the same place.

    It must show the root of this fingerprint, or a later one that follows from it. The two must differ in
    name, network and TLS key: one operator, or one who reads on the way, would see both halves of each
    question. On this machine itself, two ports are enough, to try it. Raises BadInput, BadSignature,
    NetworkError.
    """
    if second == NOBODY:
        return SecondServer(None)
    url = canonical_url(second)
    one, other = urlsplit(first), urlsplit(url)
    if is_in_clear(url) and not allow_plain_http:
        raise BadInput(
            f"{url} is not encrypted: who reads the way to both servers would see what neither may",
            hint="use https://, or --allow-plain-http if the connection is protected in another way",
        )
    _check_apart(one, other, direct=proxy is None)
    route = Route.to(url, proxy=proxy, ca_file=ca_file)
    transport = Transport(url, route=route)
    try:
        if find_root(transport, fetch_root(transport), fingerprint) is None:
            raise BadSignature(
                f"{url} is no mirror of {first}: it shows another root; nothing was stored",
                hint="ask its operator which server it follows",
            )
    finally:
        transport.close()
    return SecondServer(url, None if ca_file is None else ca_file.read_bytes())


def way_to_second(
    known: ServerState,
    options: Options,
    *,
    transcript: Path | None,
    proxy: str | None,
    patience: Patience,
) -> Transport | None:
    """A way to the second server, without any credential; None if nothing is asked of it.

    Its TLS certificate has its own authorities, or the system's: with those of the first server, that one's
    operator could stand between. Raises NotTrusted if there is no second server, BadInput if the sync is
    recorded: a transcript is of one server.
    """
    if options.privacy != TWO_SERVER:
        return None
    if known.second is None:
        raise NotTrusted(
            f"no second server is trusted beside {known.url}",
            hint=f"run: contactsync trust {known.url} --second URL, or choose another --privacy",
        )
    if transcript is not None:
        raise BadInput(
            "a transcript is of one server, and this sync asks two",
            hint="leave --transcript, or choose another --privacy for it",
        )
    route = Route.to(known.second, proxy=proxy, ca_file=known.second_ca_file)
    return Transport(known.second, patience=patience, route=route, max_data=options.max_download)


def _check_apart(one: SplitResult, other: SplitResult, *, direct: bool) -> None:
    """Refuse two servers that one operator can be seen to have. `direct`: no proxy is between."""
    hosts = one.hostname or "", other.hostname or ""
    if all(map(is_loopback, hosts)):
        if _place(one) == _place(other):
            raise BadInput("the second server is the first one", hint="give the address of a mirror")
        return
    if hosts[0] == hosts[1]:
        raise BadInput(
            f"both servers are {hosts[0]}: who runs it would see both halves of each question",
            hint="give a mirror that somebody else runs, on a host of its own",
        )
    if not direct:
        return
    shared = _networks(one) & _networks(other)
    if shared:
        raise BadInput(
            f"both servers are in the network {min(map(str, shared))}: it may belong to one operator",
            hint="give a mirror that somebody else runs, in another network",
        )
    if one.scheme == other.scheme == "https" and _tls_key(one) == _tls_key(other):
        raise BadInput(
            "both servers have the same TLS key, so they are one",
            hint="give a mirror that somebody else runs, with a key of its own",
        )


def _place(url: SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or PORTS[url.scheme]


def _networks(url: SplitResult) -> set[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks that a server's addresses are in."""
    host, port = _place(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NetworkError(f"{host} is not found: {error}", hint="check the address") from error
    addresses = [ipaddress.ip_address(str(where[0]).partition("%")[0]) for *_, where in found]
    return {ipaddress.ip_network((one, _NETWORK_BITS[one.version]), strict=False) for one in addresses}


def _tls_key(url: SplitResult) -> bytes:
    """The public key of a server's certificate, whoever signed it: what it is compared for needs no more."""
    host, port = _place(url)
    try:
        pem = ssl.get_server_certificate((host, port), timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise NetworkError(f"{host} shows no TLS certificate: {error}", hint="try again later") from error
    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NetworkError(
            f"{host} shows a TLS certificate that cannot be read", hint="tell its operator"
        ) from error
