"""The server that is probed: how to reach it, as whom, what it has signed, what it has answered so far."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from contactsync.audit.probe.budget import PointBudget
from contactsync.audit.probe.refusals import BINARY
from contactsync.audit.probe.wire import Line, RawReply, Wire, shown
from contactsync.audit.report import AuditReport
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadProof, BadReply, Refused
from contactsync.publication.manifest import Manifest
from contactsync.ristretto255 import GENERATOR, decode, encode, multiscalar_vartime
from contactsync.voprf.blinding import Blinding
from contactsync.voprf.client import finalize
from contactsync.voprf.suite import NE, NS, Rows, row
from contactsync.voprf.wire import parse_reply

_MOST_PAUSE: Final = 10


@dataclass(frozen=True, slots=True)
class Caller:
    """An account of the auditor. `name` is what findings call it: never its credential."""

    name: str
    credential: str = field(repr=False)
    audience: str = ""
    burst: int = 0
    per_day: int = 0

    @property
    def authorization(self) -> tuple[str, str]:
        """The field that every request of this account has."""
        return "Authorization", f"Bearer {self.credential}"


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account has left, as the server says. `at` is the monotonic time."""

    left: int
    grant: int
    at: float

    @property
    def total(self) -> int:
        """Points that may be evaluated, the grant included."""
        return self.left + self.grant


@dataclass
class Probed:
    """One server, and all that it has answered. `batches` counts the evaluations."""

    wire: Wire
    report: AuditReport
    budget: PointBudget
    callers: Sequence[Caller]
    manifests: dict[str, Manifest] = field(default_factory=dict)
    batches: int = 0
    _elements: dict[tuple[str, int, bytes], bytes] = field(default_factory=dict)
    _outputs: dict[tuple[str, int, bytes], tuple[bytes, bytes]] = field(default_factory=dict)
    _nonces: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def first(self) -> Caller:
        """The account that most requests are made with."""
        return self.callers[0]

    @property
    def manifest(self) -> Manifest:
        """The manifest of its audience."""
        return self.manifests[self.first.audience]

    def introduce(self, caller: Caller) -> Caller:
        """The account with what the server says of it. Raises Refused, BadReply, NetworkError."""
        reply = self.wire.ask("GET", "/v1/account", [caller.authorization])
        if reply.status != 200:
            hint = "check the credential file, or ask the operator for a new credential"
            what = "the server refused this credential" if reply.status == 401 else f"the server said {reply}"
            raise Refused(what, hint=hint, status=reply.status, kind=reply.kind)
        said, burst, per_day = reply.value(), 0, 0
        with contextlib.suppress(TypeError, ValueError, KeyError, OverflowError):
            burst, per_day = (int(said["quota"][name]) for name in ("burst", "per_day"))
        if burst < 1 or per_day < 1 or said.get("audience") not in AUDIENCES:
            raise BadReply(
                f"for {caller.name} it has another form than documented",
                hint="check the address: is it a contactsync server?",
            )
        return replace(caller, audience=said["audience"], burst=burst, per_day=per_day)

    def funds(self, caller: Caller) -> tuple[Funds, RawReply]:
        """What an account has left. Raises BadReply, NetworkError."""
        reply = self.wire.ask("GET", "/v1/account", [caller.authorization])
        try:
            said = reply.value()
            found = Funds(int(said["quota"]["left"]), int(said["grant"]), time.monotonic())
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise BadReply(
                f"GET /v1/account: it said {reply} instead of what is left of the quota"
            ) from error
        return found, reply

    def path(self, caller: Caller, epoch: int | None = None) -> str:
        """The path of evaluations for an account."""
        number = self.manifests[caller.audience].epoch if epoch is None else epoch
        return f"/v1/evaluate/{caller.audience}/{number}"

    def post(
        self, caller: Caller, blinded: Rows, *, line: Line | None = None, epoch: int | None = None
    ) -> RawReply:
        """Send a batch, which is counted first; once more if the server is busy.

        Raises NetworkError, BadReply.
        """
        if line is None:
            with self.wire.line() as own:
                return self.post(caller, blinded, line=own, epoch=epoch)
        fields, path = (
            [("Accept-Encoding", "identity"), BINARY, caller.authorization],
            self.path(caller, epoch),
        )
        for again in (True, False):
            self.budget.spend(len(blinded))
            reply = line.ask("POST", path, fields, blinded.tobytes())
            pause = reply.get("retry-after")
            is_busy = reply.status == 503 and re.fullmatch("[0-9]{1,2}", pause) is not None
            if not (is_busy and again and int(pause) <= _MOST_PAUSE and self.budget.left >= len(blinded)):
                break
            time.sleep(int(pause))
        return reply

    def evaluate(
        self, rule: str, caller: Caller, blinding: Blinding, *, line: Line | None = None, ahead: bool = False
    ) -> Rows | None:
        """Have a batch evaluated, and judge the reply. Raises NetworkError, BadReply."""
        epoch = self.manifests[caller.audience].epoch + ahead
        reply = self.post(caller, blinding.blinded, line=line, epoch=epoch)
        return self.judge(rule, caller, blinding, reply, ahead=ahead)

    def judge(
        self, rule: str, caller: Caller, blinding: Blinding, reply: RawReply, *, ahead: bool = False
    ) -> Rows | None:
        """What the reply to a batch comes to; the outputs, uint8[n, 64], if it is proven.

        `ahead`: it is for the epoch that is announced.
        """
        manifest = self.manifests[caller.audience]
        if ahead and manifest.next is not None:
            epoch, key = manifest.next.epoch, manifest.next.public_key
        else:
            epoch, key = manifest.epoch, manifest.public_key
        self.batches += 1
        place = f"evaluation {self.batches} ({caller.name}, epoch {epoch}, {len(blinding)} points)"
        if reply.status != 200:
            state = self.report.leave if reply.status in {429, 503} else self.report.disprove
            state(rule, place, f"it was answered with {reply} instead of an evaluation")
            return None
        self._check_fields(place, reply)
        try:
            evaluated, proof = parse_reply(reply.body, len(blinding))
        except BadReply as error:
            self.report.disprove(rule, place, str(error), error.hint)
            return None
        of = (caller.audience, epoch)
        self._compare_elements(of, place, blinding.blinded, evaluated)
        try:
            outputs = finalize(blinding, evaluated, proof, key)
        except (BadReply, BadProof) as error:
            self.report.disprove(
                rule, place, str(error), "compare the key with that of other people's manifest"
            )
            return None
        self.report.prove(rule)
        self._compare_nonce(place, key, proof)
        self._compare_outputs(of, place, blinding, outputs)
        return outputs

    def _check_fields(self, place: str, reply: RawReply) -> None:
        """The fields of an evaluation (docs/http-api.md, "Evaluate")."""
        if reply.media_type != BINARY[1]:
            self.report.disprove("headers", place, f"its media type is {shown(reply.media_type)}")
        if "no-store" not in reply.get("cache-control"):
            self.report.disprove("headers", place, "it may be cached: there is no Cache-Control: no-store")

    def _compare_elements(self, of: tuple[str, int], place: str, blinded: Rows, evaluated: Rows) -> None:
        """A point that was evaluated before must give what it gave then."""
        again = 0
        for point, element in zip(blinded, evaluated, strict=True):
            before = self._elements.setdefault((*of, point.tobytes()), found := element.tobytes())
            if before != found:
                what = "a point was evaluated to another element than before"
                self.report.disprove("determinism", place, what)
                return
            again += before is not found
        if again:
            self.report.prove("determinism", again)

    def _compare_outputs(self, of: tuple[str, int], place: str, blinding: Blinding, outputs: Rows) -> None:
        """An input that was blinded before, by another scalar, must give the same output."""
        again = 0
        for text, blinded, output in zip(blinding.inputs, blinding.blinded, outputs, strict=True):
            point, before = self._outputs.setdefault((*of, text), (blinded.tobytes(), output.tobytes()))
            if before != output.tobytes():
                self.report.disprove("finalize", place, "another blind of an input gave another output")
                return
            again += point != blinded.tobytes()
        if again:
            self.report.prove("finalize", again)

    def _compare_nonce(self, place: str, key: bytes, proof: bytes) -> None:
        """Two proofs with the same nonce and different challenges give the key away (docs/protocol.md)."""
        # t2 = ((s * A) + (c * B)) = r * A
        c, s = np.frombuffer(proof, np.uint8).reshape(2, NS)
        points, _ = decode(np.concatenate([GENERATOR.reshape(1, NE), row(key)]))
        commitment = encode(multiscalar_vartime(np.stack([s, c]), points)).tobytes()
        if self._nonces.setdefault(commitment, c.tobytes()) != c.tobytes():
            self.report.disprove(
                "nonce",
                place,
                "its proof has the nonce of an earlier one",
                "the secret key can be computed from both",
            )
        else:
            self.report.prove("nonce")


def selected(blinding: Blinding, places: Sequence[int]) -> Blinding:
    """The points at these places of a batch, with their inputs and blinds."""
    which = list(places)
    inputs = tuple(blinding.inputs[one] for one in which)
    return Blinding(inputs, blinding.blinds[which], blinding.blinded[which])


def joined(parts: Sequence[Blinding]) -> Blinding:
    """Batches as one."""
    inputs = tuple(text for part in parts for text in part.inputs)
    return Blinding(
        inputs,
        np.concatenate([part.blinds for part in parts]),
        np.concatenate([part.blinded for part in parts]),
    )
