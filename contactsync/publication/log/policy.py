"""Which log a client follows, and how many of which witnesses must have seen what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from contactsync.foundation.errors import BadInput, BadReply
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.notes import COSIGNATURE, ED25519, Verifier, open_note

FIELD: Final = "x-contactsync-log"
"""The member of a root's metadata that states its policy."""

MAX_WITNESSES: Final = 32


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """A log's key, witnesses, and how many of them must have cosigned: `quorum`, from 0 to all."""

    log: Verifier
    witnesses: tuple[Verifier, ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        """Raises BadInput: keys of another kind, a witness twice, or a quorum that cannot be reached."""
        keys = [one.public for one in self.witnesses]
        if self.log.kind != ED25519:
            raise BadInput(
                f"{self.log.name} is the key of a witness, not of a log", hint="give the log's key"
            )
        for one in self.witnesses:
            if one.kind != COSIGNATURE:
                raise BadInput(
                    f"{one.name} is not the key of a witness", hint="give what `contactsync witness` prints"
                )
        if len(set(keys)) != len(keys) or self.log.public in keys:
            raise BadInput("a witness is named twice, or is the log itself", hint="name each key once")
        if len(keys) > MAX_WITNESSES:
            raise BadInput(f"more than {MAX_WITNESSES} witnesses", hint="name fewer")
        if not 0 <= self.quorum <= len(keys):
            raise BadInput(
                f"{self.quorum} of {len(keys)} witnesses cannot be required",
                hint=f"give a number from 0 to {len(keys)}",
            )

    def accept(self, note: bytes) -> Checkpoint:
        """The checkpoint of a note that the log and enough witnesses have signed.

        Raises BadReply: no checkpoint of this log, or too few witnesses; BadSignature: a wrong one.
        """
        opened = open_note(note, [self.log, *self.witnesses])
        checkpoint = Checkpoint.parse(opened.text)
        if self.log not in opened.verified or checkpoint.origin != self.log.name:
            raise BadReply(
                f"a checkpoint that the log {self.log.name} has not signed", refusal="bad-signature"
            )
        missing = [one.name for one in self.witnesses if one not in opened.verified]
        cosigned = len(self.witnesses) - len(missing)
        if cosigned < self.quorum:
            raise BadReply(
                f"{cosigned} of the {self.quorum} witnesses that are required have cosigned the log; "
                f"without a cosignature: {', '.join(missing)}",
                hint="sync again later; if this goes on, tell the operator",
                refusal="too-few-witnesses",
            )
        return checkpoint

    def to_value(self) -> dict[str, Any]:
        """As the root's metadata has it, in `FIELD`."""
        return {
            "log": self.log.vkey(),
            "quorum": self.quorum,
            "witnesses": [one.vkey() for one in self.witnesses],
        }

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Of the root's metadata. Raises BadReply."""
        match value:
            case {"log": str(log), "quorum": int(quorum), "witnesses": [*keys], **rest} if not rest:
                try:
                    if type(quorum) is int and all(isinstance(one, str) for one in keys):
                        return cls(Verifier.parse(log), tuple(map(Verifier.parse, keys)), quorum)
                except BadInput as error:
                    raise BadReply(f"the root states an invalid log policy: {error}") from error
        raise BadReply("the root states an invalid log policy")

    @classmethod
    def of_root(cls, unrecognized: Mapping[str, Any]) -> Self | None:
        """Of the members of a root that TUF does not know; None if it names no log. Raises BadReply."""
        return cls.from_value(unrecognized[FIELD]) if FIELD in unrecognized else None


def read_policy(text: str, log: Verifier | None = None) -> LogPolicy:
    """A policy file: `log VKEY`, `witness VKEY` for each, `quorum N`; # begins a comment. BadInput.

    Without a line `log`, it is of `log`; without `quorum`, all witnesses are required.
    """
    given: dict[str, list[str]] = {"log": [], "witness": [], "quorum": []}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in given:
            raise BadInput(
                f"line {number} of the policy: expected `log VKEY`, `witness VKEY` or `quorum N`",
                hint="correct that line",
            )
        given[words[0]].append(words[1])
    return _policy(given["log"], given["witness"], given["quorum"], log)


def _policy(
    logs: Sequence[str], witnesses: Sequence[str], quorums: Sequence[str], log: Verifier | None
) -> LogPolicy:
    if len(logs) > 1 or len(quorums) > 1:
        raise BadInput("a policy has one line `log` and one line `quorum`", hint="remove the others")
    of = Verifier.parse(logs[0]) if logs else log
    if of is None:
        raise BadInput("the policy does not name its log", hint="add a line `log VKEY`")
    number = quorums[0] if quorums else str(len(witnesses))
    if not (number.isascii() and number.isdigit()) or len(number) > 3:
        raise BadInput(f"quorum {number[:20]!r} is no number", hint="give a number of witnesses")
    return LogPolicy(of, tuple(map(Verifier.parse, witnesses)), int(number))
