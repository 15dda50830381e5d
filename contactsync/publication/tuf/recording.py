"""What the TUF repository asks of a log: that what it is about to switch to is a leaf of it.

The root states which log that is, in a field of its own, which python-tuf keeps and signs as any other:

```
"x-contactsync-log": {"log": VKEY, "quorum": K, "witnesses": [VKEY, ...]}      see publication/log/policy.py
```
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from tuf.api.metadata import Root

from contactsync.publication.log.policy import FIELD


@dataclass(frozen=True, slots=True)
class Switch:
    """What is about to count: a root, or the manifests of all audiences, by audience.

    All are octets. `targets` is their metadata, if it has been signed already; `earlier` are manifests that
    come before them in the history.
    """

    root: bytes | None = None
    manifests: Mapping[str, bytes] = field(default_factory=dict)
    targets: bytes | None = None
    earlier: tuple[bytes, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is kept until the switch."""
        return {
            "root": _text(self.root),
            "manifests": {audience: _text(octets) for audience, octets in self.manifests.items()},
            "targets": _text(self.targets),
            "earlier": [_text(octets) for octets in self.earlier],
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Raises ValueError, KeyError, TypeError, AttributeError."""
        return cls(
            _octets(value["root"]),
            {audience: base64.b64decode(text) for audience, text in value["manifests"].items()},
            _octets(value["targets"]),
            tuple(base64.b64decode(text) for text in value["earlier"]),
        )


class Recorder(Protocol):
    """A log that can be written to."""

    def record(self, switch: Switch) -> None:
        """Have all of it in the log, witnessed as the policies ask, or raise: then nothing may count.

        It may be called again with the same, until `settle`; nothing else is taken in between. Raises
        OurError, NetworkError.
        """

    def settle(self) -> None:
        """The switch has been made."""


def log_field(policy: Mapping[str, Any]) -> dict[str, Any]:
    """A root's field for a policy."""
    return {FIELD: dict(policy)}


def has_log(root: Root) -> bool:
    """Whether a root names a log."""
    return FIELD in root.unrecognized_fields


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else base64.b64encode(octets).decode()


def _octets(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
