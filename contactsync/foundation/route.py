"""How to reach a server: through which proxy, and with which certificate authorities.

The proxy is the one given on the command line, or the one in the environment (HTTPS_PROXY, HTTP_PROXY,
ALL_PROXY and NO_PROXY, in upper or lower case). A proxy that cannot be used is an error and is never
bypassed: someone who believes that they are behind Tor must be.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import LocationParseError

from contactsync.foundation.errors import BadInput
from contactsync.foundation.loopback import is_loopback

DIRECT = "none"
"""The value of `--proxy` for no proxy, whatever the environment says."""

_HTTP = {"http", "https"}
PORTS = {"http": 80, "https": 443}
_SOCKS = {"socks4", "socks4a", "socks5", "socks5h"}


@dataclass(frozen=True, slots=True)
class Route:
    """How connections to a server are made. `proxy` is a URL and may hold a password: it is never shown."""

    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    @classmethod
    def to(
        cls,
        url: str,
        *,
        proxy: str | None = None,
        ca_file: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Route:
        """The route given by `proxy`, or by the environment. Raises BadInput if it cannot be used."""
        if ca_file is not None:
            _check_ca(ca_file)
        if proxy == DIRECT:
            return cls(None, ca_file)
        chosen, source = (proxy, "--proxy") if proxy else _of_environment(url, environment)
        if chosen is not None:
            _check_proxy(chosen, source)
        return cls(chosen, ca_file)

    @property
    def proxy_secret(self) -> bytes:
        """What a proxy that speaks HTTP is sent as a password, base64; empty if it is none."""
        field = self._proxy_headers().get("proxy-authorization", "")
        return field.removeprefix("Basic ").encode("ascii")

    @property
    def proxy_kind(self) -> str | None:
        """The scheme of the proxy's URL; None without a proxy."""
        return None if self.proxy is None else str(urllib3.util.parse_url(self.proxy).scheme)

    def _proxy_headers(self) -> dict[str, str]:
        parts = urllib3.util.parse_url(self.proxy or "")
        if parts.scheme not in _HTTP or not parts.auth:
            return {}
        # make_headers sends Latin-1: so each octet that the URL stands for is sent as it is, mostly UTF-8.
        return urllib3.make_headers(proxy_basic_auth=unquote(parts.auth, encoding="latin-1"))

    def manager(self, timeout: urllib3.Timeout) -> urllib3.PoolManager:
        """Connections by this route. TLS is verified with the system's authorities, or those in `ca_file`."""
        more: dict[str, Any] = {"timeout": timeout, "retries": False}
        if self.ca_file is not None:
            more["ca_certs"] = str(self.ca_file)
        if self.proxy is None:
            return urllib3.PoolManager(**more)
        parts = urllib3.util.parse_url(self.proxy)
        if parts.scheme in _SOCKS:
            from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415 - few need it

            return SOCKSProxyManager(self.proxy, **more)
        return urllib3.ProxyManager(self.proxy, proxy_headers=self._proxy_headers() or None, **more)


_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?")


def _of_environment(url: str, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """The proxy for a URL, and the variable that it comes from."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    values = {name.lower(): (value, name) for name, value in environment.items() if value}
    # Lower case wins. In a program that a web server runs (CGI), HTTP_PROXY is a header of the request.
    values |= {name: (environment[name], name) for name in values if environment.get(name)}
    if "REQUEST_METHOD" in environment and not environment.get("http_proxy"):
        values.pop("http_proxy", None)
    port, (no_proxy, _) = parts.port or PORTS.get(parts.scheme), values.get("no_proxy", ("", ""))
    if is_loopback(host) or _is_excepted(host, port, no_proxy):
        return None, ""
    return values.get(f"{parts.scheme}_proxy") or values.get("all_proxy") or (None, "")


def _is_excepted(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host, a domain above it, or everything."""
    for entry in no_proxy.replace(",", " ").split():
        name, _, only = entry.lower().partition(":") if entry.count(":") == 1 else (entry.lower(), "", "")
        if only and only != str(port):
            continue
        name = name.removeprefix("*").lstrip(".")
        if entry == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False


def _check_proxy(proxy: str, source: str) -> None:
    """Raise BadInput, without showing the URL, if this proxy cannot be used."""
    hint = "give http://HOST:PORT, or socks5h://127.0.0.1:9050 for Tor, or --proxy none to use no proxy"
    try:
        parts = urllib3.util.parse_url(proxy)
    except LocationParseError:
        raise BadInput(f"the proxy in {source} is not a URL", hint=hint) from None
    if parts.scheme not in _HTTP | _SOCKS or not parts.host:
        raise BadInput(f"the proxy in {source} is of an unsupported kind", hint=hint)
    if parts.scheme in _SOCKS:
        try:
            import socks  # type: ignore[import-untyped]  # noqa: F401, PLC0415
        except ImportError as error:
            raise BadInput(
                f"the proxy in {source} needs PySocks, which is not installed",
                hint="run `pip install PySocks`",
            ) from error


def _check_ca(path: Path) -> None:
    """Raise BadInput if there is no certificate in the file."""
    hint = "give the PEM file of the authority that signed the server's certificate"
    try:
        text = "".join(_CERTIFICATE.findall(path.read_text("utf-8", "replace")))
        if not text:
            raise BadInput(f"there is no certificate in {path}", hint=hint)
        ssl.create_default_context(cadata=text)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or 'not a certificate'}", hint=hint) from error
    except (ValueError, TypeError) as error:  # TypeError: it has characters that are not ASCII
        raise BadInput(f"{path} is not a PEM file", hint=hint) from error
