"""How a request says who asks: Basic (RFC 7617), Digest (RFC 7616), Bearer (RFC 6750).

Nothing is sent before the server asks for it. If it offers several schemes, the one that reveals least is
taken. A password that was refused once is not sent again: some servers lock an account after a few attempts.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

from contactsync.foundation.errors import BadInput, Refused

Scheme = Literal["auto", "basic", "digest", "bearer"]
SCHEMES: Final = ("auto", "basic", "digest", "bearer")

_HASHES: Final[dict[str, Callable[[bytes], Any]]] = {  # the strongest first
    "sha-512-256": lambda data: hashlib.new("sha512_256", data),
    "sha-256": hashlib.sha256,
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False),  # what old servers offer, under TLS
}
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - of RFC 9110
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PARAMETER = re.compile(rf"[\s,]*({_TOKEN})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|({_TOKEN}))\s*(?=,|$)")
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|$)|(?=\s|,|$))")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a WWW-Authenticate field; names in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(fields: Iterable[str]) -> list[Challenge]:
    """The challenges in all WWW-Authenticate fields (RFC 9110 §11.6.1). What is malformed ends a field."""
    found: list[Challenge] = []
    for text in fields:
        if _CONTROL.search(text):  # in a nonce it would end the field that answers it
            continue
        at = 0
        while True:
            parameter = _PARAMETER.match(text, at)
            if parameter is not None and found and at:
                name, quoted, plain = parameter.groups()
                value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1].parameters.setdefault(name.lower(), value)
                at = parameter.end()
                continue
            scheme = _SCHEME.match(text, at)
            if scheme is None:
                break
            found.append(Challenge(scheme[1].lower(), {}))
            at = scheme.end()
    return found


class Authenticator:
    """Answers the challenges of one server, for one user. `secret` is asked for once, when it is needed."""

    def __init__(self, user: str, secret: Callable[[], str], scheme: Scheme, where: str) -> None:
        self._user = user
        self._ask = secret
        self._known: str | None = None
        self._wanted = scheme
        self._where = where
        self._chosen: Challenge | None = None
        self._count = 0

    @property
    def has_answered(self) -> bool:
        """Whether requests carry credentials by now."""
        return self._chosen is not None

    @property
    def can_volunteer(self) -> bool:
        """Whether there is somebody to name to a server that has not asked."""
        return bool(self._user) and self._chosen is None and self._wanted in {"auto", "basic"}

    def volunteer(self) -> None:
        """Name the user from now on, although the server has not asked: it treats us as nobody."""
        self._chosen = Challenge("basic", {})

    def challenged(self, fields: Iterable[str]) -> None:
        """The server wants to know who asks. Raises Refused if it was told so, BadInput if nobody can say."""
        offered = parse_challenges(fields)
        before = self._chosen
        chosen = self._choose(offered)
        if before is not None:
            what = "token" if chosen.scheme == "bearer" else "password"
            stale = chosen.scheme == "digest" == before.scheme and chosen.parameters.get("stale", "").lower()
            new = chosen.parameters.get("nonce") != before.parameters.get("nonce")
            if not (stale == "true" and new):  # nor is the password told in a weaker way now
                raise Refused(
                    f"{self._where} did not accept the {what}",
                    hint="many providers want an app password instead of your own: see"
                    " `contactsync docs address-books`",
                    status=401,
                )
        self._chosen, self._count = chosen, 0

    def header(self, method: str, target: str, body: bytes) -> str | None:
        """The Authorization field of a request; None as long as the server has not asked."""
        if self._chosen is None:
            return None
        if self._chosen.scheme == "bearer":
            if not re.fullmatch(r"[!-~]+", self._secret()):
                raise BadInput("the token contains spaces or other characters that no token has")
            return f"Bearer {self._secret()}"
        if self._chosen.scheme == "basic":
            if ":" in self._user:
                raise BadInput("a user name with a colon cannot be sent by Basic authentication")
            return "Basic " + base64.b64encode(f"{self._user}:{self._secret()}".encode()).decode()
        self._count += 1
        return digest(
            self._chosen.parameters, self._user, self._secret(), method, target, body, count=self._count
        )

    def _secret(self) -> str:
        if self._known is None:
            self._known = self._ask()
        return self._known

    def _choose(self, offered: list[Challenge]) -> Challenge:
        """The best of what is offered, within what is wanted."""
        names = {challenge.scheme for challenge in offered}
        if self._wanted == "bearer" and "bearer" in names:
            return Challenge("bearer", {})
        if self._wanted == "bearer" or not self._user:
            hint = "give the user name: carddav://USER@HOST"
            if self._wanted == "bearer":
                hint = "leave out --auth bearer, and use a password"
            elif names == {"bearer"}:
                hint = "give --auth bearer, and the token by --password-file or --password-command"
            raise BadInput(f"{self._where} wants to know who asks ({_listed(names)})", hint=hint)
        if self._wanted in {"auto", "digest"}:
            digests = [one for one in offered if one.scheme == "digest"]
            for name in _HASHES:
                for one in digests:
                    if _algorithm(one.parameters) == name:
                        return one
        if self._wanted in {"auto", "basic"} and "basic" in names:
            return Challenge("basic", {})
        raise Refused(
            f"{self._where} offers no way to sign in that can be used here ({_listed(names)})",
            hint="give --auth bearer if you have a token"
            if "bearer" in names
            else "leave out --auth, or ask the operator of the server",
            status=401,
        )


def _listed(names: set[str]) -> str:
    known = names & {"basic", "digest", "bearer", "negotiate", "ntlm", "oauth"}
    return f"it offers {', '.join(sorted(known))}" if known else "it does not say how"


def _algorithm(parameters: dict[str, str]) -> str | None:
    """The name of the hash; None if it is not known here, or nothing can be answered."""
    name = parameters.get("algorithm", "MD5").lower().removesuffix("-sess")
    offered = {one.strip().lower() for one in parameters.get("qop", "auth").split(",")}
    if name not in _HASHES or not offered & {"auth", "auth-int"} or "nonce" not in parameters:
        return None
    try:
        _HASHES[name](b"")
    except ValueError:  # OpenSSL was built without it
        return None
    return name


def digest(  # noqa: PLR0917 - what RFC 7616 hashes
    parameters: dict[str, str],
    user: str,
    secret: str,
    method: str,
    target: str,
    body: bytes,
    *,
    count: int,
    cnonce: str | None = None,
) -> str:
    """The value of Authorization for a Digest challenge (RFC 7616 §3.4)."""
    name = _algorithm(parameters)
    assert name is not None, "only a challenge that can be answered is chosen"

    def hashed(text: str) -> str:
        return str(_HASHES[name](text.encode()).hexdigest())

    realm, nonce = parameters.get("realm", ""), parameters["nonce"]
    cnonce = secrets.token_hex(16) if cnonce is None else cnonce
    # A1 = unq(username) ":" unq(realm) ":" passwd
    a1 = f"{user}:{realm}:{secret}"
    if parameters.get("algorithm", "").lower().endswith("-sess"):
        # A1 = H( unq(username) ":" unq(realm) ":" passwd ) ":" unq(nonce-prime) ":" unq(cnonce-prime)
        a1 = f"{hashed(a1)}:{nonce}:{cnonce}"
    offered = {one.strip().lower() for one in parameters.get("qop", "").split(",")} & {"auth", "auth-int"}
    qop = "auth" if "auth" in offered else "auth-int" if offered else ""
    # A2 = Method ":" request-uri, and for auth-int also ":" H(entity-body)
    a2 = f"{method}:{target}"
    if qop == "auth-int":
        a2 = f"{a2}:{_HASHES[name](body).hexdigest()}"
    nc = f"{count:08x}"
    # response = KD ( H(A1), unq(nonce) ":" nc ":" unq(cnonce) ":" unq(qop) ":" H(A2) )
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    response = hashed(f"{hashed(a1)}:{middle}:{hashed(a2)}")
    fields: dict[str, str] = {}
    if parameters.get("userhash", "").lower() == "true":
        # username = H( unq(username) ":" unq(realm) )
        fields |= {"username": _quoted(hashed(f"{user}:{realm}")), "userhash": "true"}
    elif user.isascii():
        fields["username"] = _quoted(user)
    else:
        fields["username*"] = f"UTF-8''{quote(user, safe='')}"
    fields |= {"realm": _quoted(realm), "uri": _quoted(target), "nonce": _quoted(nonce)}
    if "algorithm" in parameters:
        fields["algorithm"] = parameters["algorithm"]
    if qop:
        fields |= {"nc": nc, "cnonce": _quoted(cnonce), "qop": qop}
    fields["response"] = _quoted(response)
    if "opaque" in parameters:
        fields["opaque"] = _quoted(parameters["opaque"])
    return "Digest " + ", ".join(f"{key}={value}" for key, value in fields.items())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
