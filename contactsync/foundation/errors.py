r"""The error tree. Every error that a user may see is one of these.

```
ContactSyncError
├── CallerError            3  what was given to us cannot be used
│   ├── BadInput           3  a file, an option or a value
│   │   └── InvalidElement 3  one row of a batch is not the encoding of a usable group element
│   ├── NotTrusted         3  no pinned root for this server yet
│   └── ChoiceNeeded       7  it would cost or leak more than allowed: choose
├── NetworkError           4  no answer, or one that was cut off: try again
│   └── ServerFailed       4  the server, or a proxy in front of it, says that it failed
├── PeerError              5  the other side sent something that must not be trusted
│   ├── BadSignature       5  metadata or manifest: wrongly signed, expired, rolled back
│   ├── BadProof           5  the evaluation was not made with the published key
│   ├── BadDirectory       5  a data file is not what the manifest says, or is malformed
│   └── BadReply           5  a reply that does not follow docs/http-api.md
├── Refused                6  the server understood and refused (credential, limit, epoch)
│   └── OutOfQuota         8  the account has used up its points: try again later
└── OurError               1  this installation: damaged state, a failing self-test, a full disk
    └── NotCleanedUp      11  it is published, but what is no longer needed could not all be removed
```

An error has one sentence that says what went wrong and where, and a hint that says what to do. Neither may
contain an identifier, a blinded element, an output or a credential. Exit code 0 is success, 2 is click's code
for a wrong command line, 130 is an interrupt.

An error that refuses bytes from elsewhere also has a `refusal`: a word from docs/vectors.md ("Refusals"),
the same in every implementation of the protocol.
"""

from collections.abc import Sequence


class ContactSyncError(Exception):
    """Base of the tree.

    `str(error)` is one sentence: what and where. `hint` is one sentence: what to do; it may be empty.
    `refusal` is the protocol's word for why bytes were refused; empty for everything else.
    """

    exit_code = 1
    refusal = ""

    def __init__(self, message: str, *, hint: str = "", refusal: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if refusal:
            self.refusal = refusal


class CallerError(ContactSyncError):
    """What was given to us cannot be used."""

    exit_code = 3


class BadInput(CallerError):
    """A file, an option or a value cannot be used."""


class InvalidElement(BadInput):
    """Row `index` of a batch is the identity or not a canonical encoding (RFC 9497 DeserializeElement)."""

    refusal = "invalid-element"

    def __init__(self, message: str, *, index: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.index = index


class NotTrusted(CallerError):
    """The server's TUF root is not pinned yet."""


class ChoiceNeeded(CallerError):
    """To go on would cost or leak more than the caller allowed."""

    exit_code = 7


class NetworkError(ContactSyncError):
    """There was no answer, or it was cut off."""

    exit_code = 4


class ServerFailed(NetworkError):
    """The server, or a proxy in front of it, failed: status 500 or above.

    `retry_after`: it wants to be left alone for so many seconds (0: it does not say).
    """

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, kind: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


class PeerError(ContactSyncError):
    """The other side sent something that must not be trusted."""

    exit_code = 5


class BadSignature(PeerError):
    """Signed metadata or the manifest is forged, expired or rolled back."""


class BadProof(PeerError):
    """An evaluation was not made with the published key (RFC 9497 VerifyProof failed)."""

    refusal = "bad-proof"


class BadDirectory(PeerError):
    """A data file is not the one the manifest names, or its structure is not valid."""


class BadReply(PeerError):
    """A reply does not follow the documented protocol."""


class Refused(ContactSyncError):
    """The server understood the request and refused it. `retry_after` is as in ServerFailed."""

    exit_code = 6

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, kind: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


class OutOfQuota(Refused):
    """The account may not evaluate more points now, but may after `retry_after` seconds.

    `left`, `burst` and `per_day` are points: see client.quota.
    """

    exit_code = 8

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after: int = 0,
        left: int = 0,
        burst: int = 0,
        per_day: int = 0,
    ) -> None:
        super().__init__(message, hint=hint, status=429, kind="out-of-quota", retry_after=retry_after)
        self.left = left
        self.burst = burst
        self.per_day = per_day


class OurError(ContactSyncError):
    """A fault in this installation: damaged state, a failed self-test, a full disk."""


class NotCleanedUp(OurError):
    """A publish has switched, and then failed to remove what nobody needs any more.

    `outcomes` is what it did. Another publish cleans up; an order such as a new epoch must not be repeated.
    """

    exit_code = 11

    def __init__(self, message: str, *, hint: str = "", outcomes: Sequence[object] = ()) -> None:
        super().__init__(message, hint=hint)
        self.outcomes = outcomes
