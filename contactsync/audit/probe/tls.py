"""TLS: the certificate is good, and for how long; old versions are refused; plain HTTP serves nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from contactsync.audit.probe.wire import RawReply, Wire, shown
from contactsync.audit.report import AuditReport
from contactsync.client.state import is_in_clear
from contactsync.foundation.errors import ContactSyncError, NetworkError

SECONDS: Final = 10.0
_NOTICE: Final = timedelta(days=14)
_PLAIN_PORT: Final = 80


def context_of(ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer, with the system's authorities or those in the file."""
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_tls(report: AuditReport, wire: Wire, context: ssl.SSLContext) -> bool:
    """Check the way to a server; False if no credential may be sent over it.

    Raises NetworkError, BadReply.
    """
    if not wire.is_tls and is_in_clear(f"http://{wire.authority}"):
        _check_clear(report, wire)
        return False
    if not wire.is_tls:
        report.note(
            "tls",
            wire.authority,
            "the address has no TLS: it is this machine's own, and nothing is on the way",
        )
        return True
    place = f"{wire.host}:{wire.port}"
    try:
        raw = socket.create_connection((wire.host, wire.port), timeout=SECONDS)
    except OSError as error:
        raise NetworkError(
            f"cannot connect to {place}: {error.strerror or error}",
            hint="check the address, and that the server runs",
        ) from error
    try:
        with raw, context.wrap_socket(raw, server_hostname=wire.host) as secured:
            certificate, version = secured.getpeercert() or {}, secured.version() or ""
    except ssl.SSLCertVerificationError as error:
        report.disprove(
            "tls", place, f"its certificate is refused: {error.verify_message}", "clients refuse it, too"
        )
        return False
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or "the connection was closed"
        report.disprove("tls", place, f"no TLS 1.2 or 1.3 can be spoken with it ({reason})")
        return False
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    left = end - datetime.now(UTC)
    report.facts["tls"] = {"version": version, "certificate_ends": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
    report.prove("tls")
    if left < _NOTICE:
        report.note("tls", place, f"its certificate ends in {max(0, left.days)} days, on {end:%Y-%m-%d} UTC")
    _check_versions(report, wire, place)
    _check_plain(report, wire)
    return True


def _check_clear(report: AuditReport, wire: Wire) -> None:
    """An address without TLS, on another machine: what is served there, without a credential."""
    reply = wire.ask("GET", "/v1/health")
    if is_ours(reply):
        report.disprove(
            "tls",
            report.subject,
            f"the API is served without TLS: {reply}",
            "credentials would be read on the way; this one was not sent",
        )
    else:
        what = f"the address has no TLS, and gave {reply.status}: no credential is sent there"
        report.leave("tls", report.subject, what, "give the address with https://")


def is_ours(reply: RawReply) -> bool:
    """Whether a contactsync server sent this reply of /v1/health."""
    return reply.value().get("status") == "ok" or bool(reply.kind)


def _check_versions(report: AuditReport, wire: Wire, place: str) -> None:
    """TLS 1.0 and 1.1 (RFC 8996) must fail."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
    except (ssl.SSLError, ValueError):
        report.note(
            "tls", place, "this machine's OpenSSL cannot speak TLS 1.0 and 1.1, so they were not tried"
        )
        return
    try:
        with (
            socket.create_connection((wire.host, wire.port), timeout=SECONDS) as raw,
            old.wrap_socket(raw, server_hostname=wire.host) as secured,
        ):
            version = secured.version()
    except OSError:
        report.prove("tls")
    else:
        report.disprove("tls", place, f"it speaks {version}, which RFC 8996 forbids")


def _check_plain(report: AuditReport, wire: Wire) -> None:
    """Plain HTTP, on the same port and on port 80, redirects or refuses."""
    for port in dict.fromkeys((wire.port, _PLAIN_PORT)):
        place = f"http://{wire.host}:{port}"
        reply = _plain(wire, port)
        if reply is not None and is_ours(reply):
            report.disprove(
                "tls",
                place,
                f"the API is served without TLS: {reply}",
                "credentials would be read on the way",
            )
        elif (
            reply is not None
            and 300 <= reply.status < 400
            and not reply.get("location").startswith("https://")
        ):
            report.disprove(
                "tls", place, f"it redirects to {shown(reply.get('location'))}, which is not https"
            )
        else:
            report.prove("tls")


def _plain(wire: Wire, port: int) -> RawReply | None:
    """What plain HTTP says; None if nobody listens, or not to that."""
    host = f"[{wire.host}]" if ":" in wire.host else wire.host
    other = Wire(f"http://{host}:{port}{wire.prefix}", patience=SECONDS)
    with contextlib.suppress(ContactSyncError):
        return other.ask("GET", "/v1/health")
    return None
