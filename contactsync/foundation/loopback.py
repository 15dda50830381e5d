"""This machine, by the name or the address that somebody wrote. Light: every command loads it."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether the host is this machine: no proxy can reach it, and nobody reads on the way."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
