"""What operations of the server mean here: the key of an epoch, the name of a batch, charges; and tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contactsync.directory import truncate
from contactsync.directory.screen import key_texts
from contactsync.server.quota import PointQuota, Verdict, batch_name
from contactsync.server.storage.ports import Charge
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.tokens import Tokens
from contactsync.voprf import server

Case = dict[str, Any]


def epoch_key(given: Case) -> Case:
    """The key of an epoch, from its seed."""
    info = server.epoch_info(given["audience"], given["epoch"])
    key = server.derive_key_pair(bytes.fromhex(given["seed"]), info)
    return {"info": info.hex(), "secret_key": key.secret.hex(), "public_key": key.public.hex()}


def token(given: Case) -> Case:
    """An output's token, and where it is in directories of some width."""
    octets = bytes.fromhex(given["output"])
    tokens = Tokens.from_outputs(np.frombuffer(octets, np.uint8).reshape(1, len(octets)))
    widths = given["slot_bits"], given["remainder_bits"]
    values = truncate(tokens, *widths)
    (text,) = key_texts(values, *widths)
    return {
        "token": tokens.to_bytes().tobytes().hex(),
        "value": text,
        "slot": int(text, 16) >> given["remainder_bits"],
        "bucket": int(values.bucket[0]),
    }


def name_of_batch(given: Case) -> Case:
    """What a server knows a batch by that it has charged."""
    name = batch_name(bytes.fromhex(given["secret"]), given["epoch"], bytes.fromhex(given["body"]))
    return {"name": name.hex()}


def charge(given: Case) -> Case:
    """What a store of accounts says to one request after the other, and how many points are left then."""
    allowance, now = PointQuota(given["burst"], given["per_day"]), [0]
    answers = []
    with tempfile.TemporaryDirectory(prefix="contactsync-audit-") as folder:
        accounts = SqliteAccounts.create(Path(folder) / "accounts.sqlite", clock=lambda: now[0])
        try:
            now[0] = given["requests"][0]["at"]
            accounts.add("somebody", "people", "cs_of_a_vector")
            (account,) = accounts.list()
            secret = accounts.secret()
            for one in given["requests"]:
                now[0] = one["at"]
                name = batch_name(secret, one["epoch"], one["batch"].encode("ascii"))
                bill = Charge(account.id, one["points"], name, allowance, one["epoch"])
                (standing,) = accounts.charge([bill])
                if standing is None:
                    raise ValueError("the account is gone")
                answers.append({"outcome": _OUTCOMES[standing.outcome], "left": standing.left(allowance)})
        finally:
            accounts.close()
    return {"answers": answers}


_OUTCOMES = {Verdict.REFUSED: "refused", Verdict.CHARGED: "charged", Verdict.REPEATED: "repeated"}

OPERATIONS: dict[str, Callable[[Case], Case]] = {
    "epoch_key": epoch_key,
    "token": token,
    "batch_name": name_of_batch,
    "charge": charge,
}
"""By their names in the vector files."""
