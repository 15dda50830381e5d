"""Text to identifier: `"Ann <Ann@Example.org>"` becomes `b"mailto:ann@example.org"` (RFC 6068).

Client and server match only if both turn the same address into the same bytes. So the rules are a numbered
profile (`PROFILE`), specified in docs/identifiers.md and pinned by vectors in
`contactsync/vectors/mail-1.json`. A rule may change only together with the profile's number, and with it the
name of the partition.
"""

from __future__ import annotations

from urllib.parse import quote

from contactsync.identifiers.mail.address import MAX_TEXT, quick, read_address
from contactsync.identifiers.steps import Record, Rejected, Step, no_record

__all__ = ["MAX_TEXT", "PROFILE", "SCHEME", "explain", "looks_like", "normalise"]

PROFILE = 1

SCHEME = b"mailto:"

_LITERAL = "!$'*+-._~"
"""What RFC 6068 and RFC 3986 let stand in a local part, beside letters and digits."""


def normalise(text: str) -> bytes:
    """The identifier of an e-mail address that people write. Raises Rejected if it cannot be looked up."""
    address = quick(text)
    return SCHEME + address.encode("ascii") if address else _identifier(text, no_record)


def explain(text: str) -> list[Step]:
    """The steps of `normalise`. The last step is named `identifier` or `rejected`."""
    steps = [Step("text", text, "an e-mail address")]

    def record(name: str, result: str, why: str) -> None:
        steps.append(Step(name, result, why))

    try:
        identifier = _identifier(text, record)
    except Rejected as rejected:
        record("rejected", rejected.reason, rejected.hint)
    else:
        record("identifier", identifier.decode("ascii"), f"e-mail profile {PROFILE}")
    return steps


def looks_like(text: str) -> bool:
    """Whether a text is to be read as an address, not as a number: it has an @, or begins with `mailto:`."""
    return "@" in text or "\N{FULLWIDTH COMMERCIAL AT}" in text or text.lstrip()[:7].lower() == "mailto:"


def _identifier(text: str, record: Record) -> bytes:
    local, domain = read_address(text, record)
    return SCHEME + f"{quote(local, safe=_LITERAL)}@{domain}".encode("ascii")
