"""Signed notes and the keys that sign them (C2SP signed-note, tlog-cosignature).

A note is a text, an empty line, and a line for each signature:

```
contacts.example.org/log
3
q2N1…=

— contacts.example.org/log zK3b…
```

A line states the name of a key, and in base64 the four octets of the key's ID before the signature. A witness
also signs when: its line has eight octets with the time between both (cosignature/v1).
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contactsync.foundation.errors import BadInput, BadReply, BadSignature

MAX_NOTE: Final = 1 << 16
"""Octets of the longest note that is read."""

MAX_SIGNATURES: Final = 100
MAX_NAME: Final = 255

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
"""The signature types of C2SP signed-note: of a log, and of a witness (cosignature/v1)."""

_PUBLIC_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_LAST_TIME: Final = (1 << 63) - 1  # seconds since 1970, as tlog-cosignature bounds them
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_LINE: Final = re.compile(r"— (\S+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def is_name(name: str) -> bool:
    """Whether a key may have this name: no white space, no "+", at most 255 octets."""
    try:
        octets = name.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return _NAME.fullmatch(name) is not None and len(octets) <= MAX_NAME


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with its name. `kind` is the type of its signatures: `ED25519` or `COSIGNATURE`."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Of the text NAME+ID+KEY: the ID in eight hexadecimal digits, type and key in base64. BadInput."""
        name, _, rest = vkey.partition("+")
        written, _, coded = rest.partition("+")
        try:
            octets = base64.b64decode(coded, validate=True)
        except ValueError:
            octets = b""
        if not is_name(name) or len(octets) != 1 + _PUBLIC_BYTES or octets[0] not in {ED25519, COSIGNATURE}:
            raise BadInput(
                f"{vkey[:80]!r} is no verifier key", hint="copy it whole: NAME+8 hexadecimal digits+base64"
            )
        verifier = cls(name, octets[0], octets[1:])
        if written != verifier.key_id.hex() or verifier.vkey() != vkey:
            raise BadInput(
                f"the verifier key of {name} is damaged: its ID does not fit", hint="copy it whole again"
            )
        return verifier

    @property
    def key_id(self) -> bytes:
        """SHA-256 of name, newline, type and key: the first four octets."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def vkey(self) -> str:
        """The key as text."""
        return f"{self.name}+{self.key_id.hex()}+{_text(bytes([self.kind]) + self.public)}"

    def opened(self, text: str, signature: bytes) -> int | None:
        """When a witness signed, in seconds since 1970; None for a log. Raises BadSignature."""
        when = None
        message = text.encode()
        length = _SIGNATURE_BYTES
        if self.kind == COSIGNATURE:
            length += _TIME_BYTES
            when = int.from_bytes(signature[:_TIME_BYTES], "big")
            if when > _LAST_TIME:
                raise BadSignature(f"the signature of {self.name} states no time")
            message = cosigned(text, when)
        try:
            key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(signature[length - _SIGNATURE_BYTES :], message)  # of another length: not valid
        except (InvalidSignature, ValueError) as error:
            raise BadSignature(f"the signature of {self.name} is not valid") from error
        return when


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """A named key that signs notes. A witness also states the time."""

    verifier: Verifier
    _sign: Callable[[bytes], bytes]
    clock: Callable[[], float] = time.time

    @classmethod
    def of(cls, name: str, kind: int, key: Ed25519PrivateKey, clock: Callable[[], float] = time.time) -> Self:
        """Of a private key. Raises BadInput: no name for a key."""
        if not is_name(name):
            raise BadInput(
                f"{name[:80]!r} cannot be the name of a key", hint="give a name without spaces and +"
            )
        return cls(Verifier(name, kind, key.public_key().public_bytes_raw()), key.sign, clock)

    def line(self, text: str) -> str:
        """The line of this key's signature of a note's text."""
        if self.verifier.kind == COSIGNATURE:
            when = int(self.clock())
            signature = when.to_bytes(_TIME_BYTES, "big") + self._sign(cosigned(text, when))
        else:
            signature = self._sign(text.encode())
        return f"— {self.verifier.name} {_text(self.verifier.key_id + signature)}\n"


def cosigned(text: str, when: int) -> bytes:
    """What a witness signs (C2SP tlog-cosignature, cosignature/v1)."""
    return f"cosignature/v1\ntime {when}\n{text}".encode()


@dataclass(frozen=True, slots=True)
class Note:
    """A note of which signatures were verified: of these keys, with when a witness signed."""

    text: str
    verified: Mapping[Verifier, int | None]


def sign_note(text: str, signers: Iterable[NoteSigner]) -> bytes:
    """A note with the signatures of these keys."""
    return f"{text}\n{''.join(signer.line(text) for signer in signers)}".encode()


def with_lines(note: bytes, lines: Iterable[str]) -> bytes:
    """The note with more lines of signatures. A line that is there already is not added again."""
    text = note.decode()
    for line in lines:
        if line not in text:
            text += line
    return text.encode()


def signature_lines(octets: bytes) -> Sequence[str]:
    """Lines of signatures as they come from a witness. Raises BadReply."""
    lines = _decoded(octets).splitlines(keepends=True)
    if not lines or len(lines) > MAX_SIGNATURES:
        raise BadReply("no signature lines of a note")
    for line in lines:
        _signature(line)
    return lines


def open_note(octets: bytes, verifiers: Iterable[Verifier]) -> Note:
    """Verify a note. Signatures of other keys are ignored. Raises BadReply: no note; BadSignature."""
    text, found, end = _decoded(octets).rpartition("\n\n")
    lines = end.splitlines(keepends=True)
    if not found or not text or not lines or len(lines) > MAX_SIGNATURES:
        raise BadReply("not a signed note")
    text += "\n"
    known = {(one.name, one.key_id): one for one in verifiers}
    verified: dict[Verifier, int | None] = {}
    for line in lines:
        name, signature = _signature(line)
        verifier = known.get((name, signature[:_ID_BYTES]))
        if verifier is not None:
            verified[verifier] = verifier.opened(text, signature[_ID_BYTES:])
    return Note(text, verified)


def _decoded(octets: bytes) -> str:
    if len(octets) > MAX_NOTE:
        raise BadReply(f"a note of more than {MAX_NOTE:,} octets")
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        raise BadReply("a note that is not UTF-8") from error
    if _CONTROL.search(text) or not text.endswith("\n"):
        raise BadReply("not a signed note")
    return text


def _signature(line: str) -> tuple[str, bytes]:
    found = _LINE.fullmatch(line.removesuffix("\n"))
    if found is None or not is_name(found[1]):
        raise BadReply("a line of a note that is no signature")
    try:
        octets = base64.b64decode(found[2], validate=True)
    except ValueError as error:
        raise BadReply("a line of a note that is no signature") from error
    if len(octets) <= _ID_BYTES or _text(octets) != found[2]:
        raise BadReply("a line of a note that is no signature")
    return found[1], octets


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
