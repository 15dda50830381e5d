"""Who must watch the log of a server, as a client has it: as its root says, or by the user's own choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from contactsync.client.state import ServerState
from contactsync.foundation.errors import BadInput
from contactsync.publication.log.notes import Verifier
from contactsync.publication.log.policy import LogPolicy, read_policy
from contactsync.publication.logged import (
    begin_anew,
    known_policy,
    last_checkpoint,
    own_policy,
    policy_in,
    set_own_policy,
)

__all__ = ["NO_FILE", "LogChoice", "Watched", "watched_of"]

NO_FILE: Final = "none"
"""In the place of a policy file: the root's own policy counts again."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A log (None: there is none), the names of its witnesses, and how many of them must have cosigned.

    `own`: the user chose it, else the root says it. `size` is how many entries were seen of it.
    """

    log: str | None = None
    witnesses: tuple[str, ...] = ()
    quorum: int = 0
    own: bool = False
    size: int = 0

    def __str__(self) -> str:
        if self.log is None:
            return "no log: nothing shows that all are shown the same"
        by = "your own policy" if self.own else "the root"
        if not self.quorum:
            count = f"{len(self.witnesses)} witnesses, 0 must cosign" if self.witnesses else "0 witnesses"
            return f"log {self.log}; {count}: nobody but the operator watches (as {by} says)"
        names = ", ".join(self.witnesses)
        return f"log {self.log}; {self.quorum} of {len(self.witnesses)} must cosign: {names} (as {by} says)"


@dataclass(frozen=True, slots=True)
class LogChoice:
    """What a user asks for: witnesses by their keys and how many of them, or a policy file (or `NO_FILE`).

    `new_log`: the log has ended, and the user accepts the one that the newest root names.
    """

    witnesses: tuple[str, ...] = ()
    quorum: int | None = None
    file: Path | None = None
    new_log: bool = False
    policy: LogPolicy | None = None

    def for_root(self, root: bytes) -> tuple[LogChoice, Watched]:
        """The choice for the log that a root names, and what it amounts to. Raises BadInput."""
        named = policy_in(root)
        own = self._policy(None if named is None else named.log)
        return replace(self, policy=own), _watched(own or named, own=own is not None)

    def apply(self, server: ServerState, root: bytes) -> None:
        """Keep it for a server, whose newest root this is."""
        if self.new_log:
            begin_anew(server.log, root)
        if self.policy is not None:
            set_own_policy(server.log, self.policy)
        elif self._is_none:
            set_own_policy(server.log, None)

    @property
    def _is_none(self) -> bool:
        return self.file is not None and str(self.file) == NO_FILE

    def _policy(self, log: Verifier | None) -> LogPolicy | None:
        if self.file is not None and (self.witnesses or self.quorum is not None):
            raise BadInput("the policy file names the witnesses", hint="give it, or --witness and --quorum")
        if self._is_none or not (self.file or self.witnesses):
            if self.quorum is not None:
                raise BadInput("a number of witnesses, and no witness", hint="give each with --witness")
            return None
        if self.file is not None:
            try:
                text = self.file.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise BadInput(f"{self.file} cannot be read", hint="give a policy file") from error
            return read_policy(text, log)
        if log is None:
            raise BadInput(
                "this server names no log, so nobody can watch it",
                hint="ask the operator: `server log enable`",
            )
        count = len(self.witnesses) if self.quorum is None else self.quorum
        return LogPolicy(log, tuple(map(Verifier.parse, self.witnesses)), count)


def watched_of(server: ServerState) -> Watched:
    """Who watches a server that is trusted, as far as is known. Raises OurError: damaged."""
    known, own = known_policy(server.log), own_policy(server.log)
    policy = own or (None if known is None else known.policy)
    seen = last_checkpoint(server.log)
    return replace(_watched(policy, own=own is not None), size=seen.size if seen else 0)


def _watched(policy: LogPolicy | None, *, own: bool) -> Watched:
    if policy is None:
        return Watched()
    return Watched(policy.log.name, tuple(one.name for one in policy.witnesses), policy.quorum, own)
