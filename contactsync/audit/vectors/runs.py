"""What a whole sync means here: the client's own chain of states, and the server's evaluation, without I/O.

Where a client draws at random (padding, order, blinds, nonce), a vector says what it drew. Everything else is
the code that a sync runs: client/core and the privacy modes decide what is fetched, sent and matched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from contactsync import identifiers
from contactsync.client.byteranges import joined, range_list
from contactsync.client.core.holdings import Holding, Known
from contactsync.client.core.matching import inspect
from contactsync.client.core.mode import AskedList, FetchFiles, LookedUp, LookUpBuckets, Memory
from contactsync.client.core.planner import Options
from contactsync.client.core.round import BlindedBatch, EvaluatedBatch, PendingBatch
from contactsync.client.core.states import Fetched, Matched, Prepared, Question
from contactsync.client.files import FolderFiles
from contactsync.client.privacy import load_modes
from contactsync.directory import DataFile, DirectoryInfo, RangeReader
from contactsync.identifiers import Rejected
from contactsync.labels import KEY_BYTES
from contactsync.publication.manifest import Manifest
from contactsync.tokens import TOKEN_BYTES, Tokens
from contactsync.voprf import server, wire
from contactsync.voprf.client import blind_with_fixed_scalars_for_test_vectors

Case = dict[str, Any]


def sync(given: Case) -> Case:
    """One sync, from what is held to who is a member."""
    with tempfile.TemporaryDirectory(prefix="contactsync-audit-") as folder:
        return _Sync(given, Path(folder)).run()


@dataclass
class _Sync:
    """A sync of a vector. `out` collects what is expected of it."""

    given: Case
    folder: Path
    out: Case = field(default_factory=dict)

    def __post_init__(self) -> None:
        published = Manifest.from_bytes(self.given["manifest"])
        ahead = published.ahead() if self.given["uses_next"] else None
        self.manifest = ahead or published
        self.served = {one["sha256"]: one["octets"] for one in self.given["served"]}

    def run(self) -> Case:
        """All of it, in the order of a sync: plan, fetch, inspect, evaluate, settle."""
        texts = [_identifier(one) for one in self.given["contacts"]]
        question = Question.about(list(dict.fromkeys(text for text in texts if text is not None)))
        prepared = self._prepared(question)
        for file in prepared.files:
            self._fetch(file)
        files = FolderFiles(self.folder)
        for plan in prepared.plan.parts:
            inspect(files, plan)
        matched = self._settled(prepared, files)
        place = {identifier: i for i, identifier in enumerate(question.identifiers)}
        if self.given["options"].get("labels", False):
            labels = matched.labelled(files).labels
            self.out["labels"] = [None if text is None else labels[place[text]] for text in texts]
        self.out |= {
            "identifiers": [None if text is None else text.decode() for text in texts],
            "fetched": [file.sha256 for file in prepared.files],
            "members": [None if text is None else _member(matched, place[text]) for text in texts],
            "editions": [-1 if text is None else int(matched.edition[place[text]]) for text in texts],
        }
        return self.out

    def _prepared(self, question: Question) -> Prepared:
        given, options = self.given, self.given["options"]
        return Prepared.of(
            question,
            self.manifest,
            _known(question, given["held"]["tokens"]),
            {(one["partition"], one["kind"]): self._holding(one) for one in given["held"]["files"]},
            [_pending(one) for one in given["held"]["unfinished"]],
            options=Options(
                audience=self.manifest.audience,
                privacy=options["privacy"],
                partitions=options["partitions"],
                buckets=options["buckets"],
                cover=options["cover"],
                most=options["largest_batch"],
                leak_budget=options["leak_budget"],
                labels=options.get("labels", False),
            ),
            modes=load_modes(),
        )

    def _holding(self, spec: Case) -> Holding:
        deltas, patches = (
            tuple((one["from"], one["to"], _file(one["file"])) for one in spec.get(name, []))
            for name in ("deltas", "patches")
        )
        holding = Holding(spec["edition"], _file(spec["whole"]), _info(spec["base"]), deltas, patches)
        for file in holding.files():
            self._fetch(file)
        return holding

    def _fetch(self, file: DataFile) -> None:
        (self.folder / file.sha256).write_bytes(self.served[file.sha256])

    def _settled(self, prepared: Prepared, files: FolderFiles) -> Matched:
        fetched = prepared.fetched()
        done = self._evaluated(fetched)
        memory = self._memory()
        settling = fetched.evaluated(done).settle(files, memory, spent=0)
        self.out["lists"] = []
        answer: Any = None
        try:
            while True:
                request = settling.send(answer)
                answer = self._answer(request)
        except StopIteration as end:
            matched: Matched = end.value
        return matched

    def _evaluated(self, fetched: Fetched) -> list[EvaluatedBatch]:
        """The round, with what the vector drew in the place of what a client draws."""
        prepared = fetched.prepared
        this = fetched.round()
        sizes = [batch.size for batch in (*this.unfinished, *this.fresh)]
        new = [identifier for batch in this.fresh for identifier in batch.identifiers]
        self.out |= {"points": sizes, "new": sorted(one.decode() for one in new)}
        drawn = [[_input(one) for one in batch["inputs"]] for batch in self.given["drawn"]]
        asked = set(prepared.question.identifiers)
        mine = [tuple(one for one in batch if one in asked) for batch in drawn]
        waiting = [set(batch.identifiers) for batch in this.unfinished]
        if [len(batch) for batch in drawn] != sizes or [set(m) for m in mine[: len(waiting)]] != waiting:
            raise ValueError("what is drawn does not fit the round")
        if sorted(one for batch in mine[len(waiting) :] for one in batch) != sorted(new):
            raise ValueError("what is drawn does not fit the round")
        key = server.derive_key_pair(
            bytes.fromhex(self.given["seed"]),
            server.epoch_info(self.manifest.audience, self.manifest.epoch),
        )
        done, self.out["requests"] = [], []
        for inputs, own, batch in zip(drawn, mine, self.given["drawn"], strict=True):
            pending = PendingBatch("", len(inputs), own)
            places = tuple(own.index(one) if one in asked else -1 for one in inputs)
            blinds = np.frombuffer(bytes.fromhex("".join(batch["blinds"])), np.uint8).reshape(-1, 32)
            blinded = BlindedBatch(pending, places, blind_with_fixed_scalars_for_test_vectors(inputs, blinds))
            evaluated, proof = server.blind_evaluate_with_fixed_nonce_for_test_vectors(
                key, wire.parse_request(blinded.body), bytes.fromhex(batch["nonce"])
            )
            honest = wire.make_reply(evaluated, proof)
            reply = bytes.fromhex(batch["reply"]) if "reply" in batch else honest
            done.append(blinded.finish(reply, self.manifest.public_key))
            self.out["requests"].append(
                {
                    "path": f"/v1/evaluate/{self.manifest.audience}/{self.manifest.epoch}",
                    "body": blinded.body.hex(),
                    "reply": honest.hex(),
                }
            )
        self.out["tokens"] = {
            identifier.decode(): token.tobytes().hex()
            for batch in done
            for identifier, token in zip(batch.identifiers, batch.tokens.to_bytes(), strict=True)
        }
        return done

    def _memory(self) -> Memory:
        ledger = self.given["ledger"]
        asked = {
            name: AskedList(
                self.manifest.epoch,
                one["slot_bits"],
                one["edition"],
                bytes.fromhex(one["seed"]),
                tuple(one["buckets"]),
            )
            for name, one in ledger["asked"].items()
        }
        return Memory(bytes.fromhex(ledger["secret"]), self.manifest.epoch, asked, ledger["odds"])

    def _answer(self, request: object) -> LookedUp | None:
        if isinstance(request, FetchFiles):
            for file in request.files:
                self._fetch(file)
            self.out["lists"].append({"partition": request.partition.name, "whole": True})
            return None
        if not isinstance(request, LookUpBuckets):
            raise TypeError(request)
        base = request.partition.directory
        data, ranges = self.served[base.file.sha256], list[str]()

        def fetch(places: list[range]) -> list[bytes]:
            ranges.append(f"bytes={range_list(joined(places))}")
            return [data[place.start : place.stop] for place in places]

        match = RangeReader(base, fetch).match(request.tokens, request.asked.numbers)
        self.out["lists"].append(
            {
                "partition": request.partition.name,
                "seed": request.asked.seed.hex(),
                "buckets": list(request.asked.numbers),
                "ranges": ranges,
            }
        )
        return LookedUp.of(request, match, None)


def _identifier(contact: Case) -> bytes | None:
    try:
        return identifiers.normalise(contact["written"], contact["region"])
    except Rejected:
        return None


def _member(matched: Matched, place: int) -> bool | None:
    """None where nothing is known of the partition."""
    return bool(matched.member[place]) if matched.settled[place] else None


def _input(spec: Mapping[str, str]) -> bytes:
    return spec["contact"].encode("ascii") if "contact" in spec else bytes.fromhex(spec["padding"])


def _pending(spec: Case) -> PendingBatch:
    return PendingBatch("", spec["points"], tuple(one.encode("ascii") for one in spec["identifiers"]))


def _known(question: Question, held: Mapping[str, Case]) -> Known:
    known = Known.nothing(len(question.identifiers))
    which = [i for i, one in enumerate(question.identifiers) if one.decode() in held]
    stored = [held[question.identifiers[i].decode()] for i in which]
    octets = bytes.fromhex("".join(one["token"] for one in stored))
    tokens = Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))
    keys = np.zeros((len(which), KEY_BYTES), np.uint8)  # nothing here opens a label
    known = known.with_tokens(np.array(which, np.int64), tokens, keys)
    member, edition = known.member.copy(), known.edition.copy()
    member[which], edition[which] = [one["member"] for one in stored], [one["edition"] for one in stored]
    return replace(known, member=member, edition=edition)


def _file(spec: Case) -> DataFile:
    return DataFile(spec["sha256"], spec["length"], spec["xxh3_64"])


def _info(spec: Case) -> DirectoryInfo:
    figures = {name: spec[name] for name in ("count", "slot_bits", "remainder_bits", "top_sha256")}
    return DirectoryInfo(**figures, file=_file(spec))


OPERATIONS = {"sync": sync}
