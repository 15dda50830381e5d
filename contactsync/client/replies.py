"""Turns every HTTP failure into an error of the error tree.

What a server says is quoted, and never shown as our advice: the server may be the attacker.
"""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from contactsync.client.quota import Quota
from contactsync.foundation.errors import (
    BadReply,
    ContactSyncError,
    NetworkError,
    OutOfQuota,
    Refused,
    ServerFailed,
)

PROBLEM_LIMIT = 16 << 10
PROBLEM = "urn:contactsync:problem:"
MIN_PAUSE = 0.25
"""Least time in seconds before a request is repeated, whatever the server says."""

PROXY_PAUSE = 5.0
"""Seconds before a request is repeated if the reply does not say when."""

MAX_PAUSE = 10 * 365 * 86_400

_NOT_OURS = "check the address: this does not look like a contactsync server"
_HINTS = {
    "wrong-audience": "set --audience to that of your credential, or ask the operator for another credential",
    "bad-credential": "check the credential file, or ask the operator for a new credential",
    "overloaded": "try again later",
    "paused": "try again later; what was evaluated is kept, and the sync continues there",
    "not-published": "try again later, or ask the operator",
}
_TLS_HINT = "check the certificate, your clock, and that this port speaks TLS (an http:// port does not)"
_OWN_AUTHORITY = "if the operator runs their own authority, run `contactsync trust URL --ca-file FILE`"
_TLS_FAULTS = {  # X509_V_ERR_… of OpenSSL
    10: ("its certificate has expired", "check this machine's clock; if it is right, tell the operator"),
    9: ("its certificate is not valid yet", "check this machine's clock; if it is right, tell the operator"),
    62: ("its certificate is for another host name", "check the address; if it is right, tell the operator"),
    64: ("its certificate is for another address", "use the server's host name instead of its IP address"),
    **dict.fromkeys(
        (18, 19, 20, 21),
        (
            "its certificate was not signed by an authority that this machine trusts",
            "",
        ),
    ),
}


def retry_after(reply: urllib3.BaseHTTPResponse) -> float | None:
    """Seconds to wait before the request may be repeated; None if it should not be repeated.

    A proxy on the way may answer 429 or 503 without saying when. The client waits for that too.
    """
    if reply.status not in {429, 503}:
        return None
    text = reply.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return max(float(text), MIN_PAUSE)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        ours = reply.headers.get("Content-Type", "").startswith("application/problem+json")
        return None if ours else PROXY_PAUSE
    if until.tzinfo is None:
        return PROXY_PAUSE
    return max((until - datetime.now(UTC)).total_seconds(), MIN_PAUSE)


def error_of(reply: urllib3.BaseHTTPResponse) -> ContactSyncError:
    """The error for a reply with an unexpected status (RFC 9457)."""
    if 300 <= reply.status < 400:
        return BadReply(
            "the server sent a redirect, and contactsync never follows one",
            hint="run `contactsync trust` with the final URL",
        )
    if reply.status == 407:
        return NetworkError(
            "the proxy refused: it requires a user name and a password, or did not accept yours",
            hint="put them into the proxy's URL: http://USER:PASSWORD@HOST:PORT",
        )
    value = _problem(reply)
    kind, said = _kind(value), _said(value)
    if kind == "out-of-quota":
        return _out_of_quota(reply, value)
    if reply.status >= 500:
        who = "the server" if kind else "the server (or a proxy in front of it)"
        return ServerFailed(
            f"{who} failed: status {reply.status}{said}",
            hint=_HINTS.get(kind, "try again later"),
            status=reply.status,
            kind=kind,
            retry_after=math.ceil(retry_after(reply) or 0),
        )
    hint = _HINTS.get(kind, "") if kind else "try again later" if reply.status == 429 else _NOT_OURS
    return Refused(
        f"the server refused: status {reply.status}{said}",
        hint=hint,
        status=reply.status,
        kind=kind,
        retry_after=math.ceil(retry_after(reply) or 0),
    )


def _out_of_quota(reply: urllib3.BaseHTTPResponse, value: dict[str, Any]) -> OutOfQuota:
    """The error for a used-up budget: what is left, and when there is enough again."""
    quota = Quota.from_json(value) or Quota.from_fields(reply.headers) or Quota(0, 0, 0)
    seconds = math.ceil(retry_after(reply) or 0)
    when = "later"
    if seconds:
        at = datetime.now(UTC) + timedelta(seconds=min(seconds, MAX_PAUSE))
        when = f"after {at:%Y-%m-%d %H:%M} UTC"
    budget = f"{quota.left:,} of {quota.burst:,} points are left, {quota.per_day:,} are restored each day"
    return OutOfQuota(
        f"the account has used up its budget of points: {budget}",
        hint=f"run it again {when}; what was evaluated is kept, and the sync continues there",
        retry_after=seconds,
        left=quota.left,
        burst=quota.burst,
        per_day=quota.per_day,
    )


def _problem(reply: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """The problem document of a reply; empty if it has none."""
    try:
        value = json.loads(reply.read(PROBLEM_LIMIT))
    except (ValueError, RecursionError, HTTPError):
        return {}
    return value if isinstance(value, dict) and "type" in value else {}


def _kind(value: dict[str, Any]) -> str:
    return _plain(str(value.get("type", "")).removeprefix(PROBLEM))


def _said(value: dict[str, Any]) -> str:
    """A quotation of what the server says in a problem document."""
    words = [str(value.get("detail") or value.get("title") or ""), str(value.get("hint") or "")]
    said = "; ".join(filter(None, map(_plain, words)))
    return f'. It says: "{said}"' if said else ""


def _plain(text: str) -> str:
    """A peer's text, shortened and safe to print on a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)[:300].strip()


@contextmanager
def explained(base_url: str, *, own_authority: str = _OWN_AUTHORITY) -> Iterator[None]:
    """Turn what urllib3 raises into one of our errors, with a hint.

    `own_authority` is the hint if no authority that is known has signed the certificate.
    """
    try:
        yield
    except NameResolutionError as error:
        raise NetworkError(f"no such host: {base_url}", hint="check the address and the network") from error
    except ProxyError as error:
        raise NetworkError(
            f"cannot reach {base_url} through the proxy",
            hint="check --proxy, or HTTPS_PROXY and ALL_PROXY; the proxy was not bypassed",
        ) from error
    except NewConnectionError as error:
        raise NetworkError(
            f"cannot connect to {base_url}", hint="check that the server is running; check any proxy too"
        ) from error
    except ConnectTimeoutError as error:
        raise NetworkError(f"{base_url} does not answer", hint="check the address and the network") from error
    except SSLError as error:
        raise _tls(base_url, error, own_authority) from error
    except ReadTimeoutError as error:
        raise NetworkError(
            f"{base_url} stopped answering", hint="try again; what was received so far is kept"
        ) from error
    except (IncompleteRead, HTTPError, MaxRetryError, OSError) as error:
        raise NetworkError(
            f"the connection to {base_url} broke in the middle of a request",
            hint="try again; what was received so far is kept",
        ) from error
    # http.client raises these for malformed sizes and parameters.
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadReply(
            f"{base_url} sent a malformed reply", hint="check the address; if it is right, tell the operator"
        ) from error


def _tls(base_url: str, error: SSLError, own_authority: str) -> NetworkError:
    """Which check of a certificate failed."""
    inner = error.args[0] if error.args else None
    code = inner.verify_code if isinstance(inner, ssl.SSLCertVerificationError) else 0
    what, hint = _TLS_FAULTS.get(code, ("", _TLS_HINT))
    return NetworkError(
        f"no verified TLS connection to {base_url}{what and f': {what}'}", hint=hint or own_authority
    )
