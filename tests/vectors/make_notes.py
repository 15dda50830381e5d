"""Vectors of the log's notes, cosignatures, policies and requests to witnesses."""

from typing import Any

import log_twin as log
from make_trees import (
    LOG,
    LOOSE,
    ORIGIN,
    SPLIT,
    UNSEEN,
    WHEN,
    WITNESSES,
    hexes,
    leaves,
    root,
)
from tuf_twin import Key
from vector_text import case

Json = dict[str, Any]

TEXT = log.checkpoint(ORIGIN, 300, root(300))


def vkeys() -> list[Json]:
    def take(reason: str, name: str, kind: int, key: Key) -> Json:
        expected = {
            "refusal": None,
            "name": name,
            "kind": {log.LOG: "log", log.WITNESS: "witness"}[kind],
            "public": key.public.hex(),
            "id": log.key_id(name, kind, key.public).hex(),
        }
        return case(reason, {"vkey": log.vkey(name, kind, key)}, expected)

    def refuse(reason: str, text: str) -> Json:
        return case(
            reason, {"vkey": text}, {"refusal": "malformed"}, "signatures of another key are believed"
        )

    good = log.vkey(ORIGIN, log.LOG, LOG)
    name, written, coded = good.split("+", 2)
    wrong_kind = log.coded(b"\x02" + LOG.public)
    return [
        take("the key of a log", ORIGIN, log.LOG, LOG),
        take("the key of a witness", "one.invalid/w", log.WITNESS, WITNESSES["one.invalid/w"]),
        refuse("another ID", f"{name}+{int(written, 16) ^ 1:08x}+{coded}"),
        refuse("another name under the same ID", f"x{good}"),
        refuse("an ID in capitals", f"{name}+{written.upper()}+{coded}"),
        refuse("an unknown type of signature", f"{name}+{written}+{wrong_kind}"),
        refuse("a key of 31 octets", f"{name}+{written}+{log.coded(bytes([1]) + LOG.public[:-1])}"),
        refuse("base64 without its padding", good.rstrip("=") if good.endswith("=") else good[:-1]),
        refuse("no name", good[len(name) :]),
        refuse("a space in the name", good.replace("/", " ", 1)),
        refuse("an empty text", ""),
    ]


def signs() -> list[Json]:
    def one(reason: str, text: str, *signers: tuple[str, str, Key, int]) -> Json:
        lines, keys, listed = "", [], []
        for name, kind, key, when in signers:
            witness = kind == "witness"
            lines += log.cosignature(text, name, key, when) if witness else log.line(text, name, key)
            keys.append(log.vkey(name, log.WITNESS if witness else log.LOG, key))
            listed.append(
                {"name": name, "kind": kind, "seed": key.secret.hex()} | ({"time": when} if witness else {})
            )
        given = {"written": text, "signers": listed}
        return case(reason, given, {"note": f"{text}\n{lines}".encode().hex(), "vkeys": keys})

    w = WITNESSES["one.invalid/w"]
    return [
        one("a checkpoint of a log", TEXT, (ORIGIN, "log", LOG, 0)),
        one(
            "a checkpoint with a cosignature",
            TEXT,
            (ORIGIN, "log", LOG, 0),
            ("one.invalid/w", "witness", w, WHEN),
        ),
        one("a text with an extension line", TEXT + "an extension\n", (ORIGIN, "log", LOG, 0)),
        one("the checkpoint of an empty log", log.checkpoint(ORIGIN, 0, root(0)), (ORIGIN, "log", LOG, 0)),
    ]


def signed(text: str = TEXT, *, by: str = "", **when: int) -> str:
    """A note of the log, cosigned by these witnesses, by the first word of their names."""
    lines = by or log.line(text, ORIGIN, LOG)
    for word, at in when.items():
        name = f"{word}.invalid/w"
        lines += log.cosignature(text, name, WITNESSES[name], at)
    return f"{text}\n{lines}"


def opens() -> list[Json]:
    keys = {name: log.vkey(name, log.WITNESS, key) for name, key in WITNESSES.items()}
    mine = log.vkey(ORIGIN, log.LOG, LOG)

    def note(text: str) -> Json:
        return {"hex": text.encode().hex()}

    def take(reason: str, text: str, verified: Json, vkeys: list[str]) -> Json:
        expected = {"refusal": None, "signed": text.rpartition("\n\n")[0] + "\n", "verified": verified}
        return case(reason, {"note": note(text), "vkeys": vkeys}, expected)

    def refuse(reason: str, refusal: str, text: str | bytes, effect: str = LOOSE) -> Json:
        octets = note(text) if isinstance(text, str) else {"hex": text.hex()}
        return case(reason, {"note": octets, "vkeys": [mine, *keys.values()]}, {"refusal": refusal}, effect)

    both = signed(one=WHEN, two=WHEN + 1)
    good = signed()
    forged = "signatures that nobody has made are believed"
    line = log.line(TEXT, ORIGIN, LOG)
    short = log.key_id(ORIGIN, log.LOG, LOG.public) + LOG.sign(TEXT.encode())[:-1]
    bit = log.key_id(ORIGIN, log.LOG, LOG.public) + _flipped(LOG.sign(TEXT.encode()))
    witness = WITNESSES["one.invalid/w"]
    as_log = log.key_id("one.invalid/w", log.WITNESS, witness.public) + bytes(8) + witness.sign(TEXT.encode())
    other_time = log.cosignature(TEXT, "one.invalid/w", WITNESSES["one.invalid/w"], WHEN)
    octets = bytearray(log.base64.b64decode(other_time.rsplit(" ", 1)[1]))
    octets[11] ^= 1
    return [
        take("signed by the log", good, {mine: None}, [mine]),
        take(
            "cosigned by two, both of whom are known",
            both,
            {mine: None, keys["one.invalid/w"]: WHEN, keys["two.invalid/w"]: WHEN + 1},
            [mine, *keys.values()],
        ),
        take(
            "of two cosignatures one is known: the other is ignored",
            both,
            {keys["two.invalid/w"]: WHEN + 1},
            [keys["two.invalid/w"]],
        ),
        take(
            "a key of the same name and another ID: ignored",
            good,
            {},
            [log.vkey(ORIGIN, log.LOG, Key("other"))],
        ),
        refuse(
            "another text under the same signature",
            "bad-signature",
            good.replace("\n300\n", "\n301\n"),
            forged,
        ),
        refuse(
            "one bit of the signature", "bad-signature", signed(by=f"— {ORIGIN} {log.coded(bit)}\n"), forged
        ),
        refuse(
            "a signature of 63 octets", "bad-signature", signed(by=f"— {ORIGIN} {log.coded(short)}\n"), forged
        ),
        refuse(
            "a cosignature with another time",
            "bad-signature",
            good + f"— one.invalid/w {log.coded(bytes(octets))}\n",
            "a witness seems to have seen it at another time",
        ),
        refuse(
            "a cosignature made as a log signs",
            "bad-signature",
            good + f"— one.invalid/w {log.coded(as_log)}\n",
            forged,
        ),
        refuse("no signature", "malformed", TEXT + "\n"),
        refuse("no empty line", "malformed", TEXT + line),
        refuse("an empty note", "malformed", ""),
        refuse("no line feed at the end", "malformed", good[:-1]),
        refuse("a carriage return", "malformed", good.replace("\n300\n", "\r\n300\n")),
        refuse("a hyphen in the place of the dash", "malformed", good.replace("—", "-")),
        refuse("base64 with a space", "malformed", good[:-5] + " " + good[-5:]),
        refuse(
            "a signature of the key's ID alone",
            "malformed",
            signed(by=f"— {ORIGIN} {log.coded(log.key_id(ORIGIN, log.LOG, LOG.public))}\n"),
        ),
        refuse("octets that are not UTF-8", "malformed", b"\xff" + good.encode()),
        refuse("101 lines of signatures", "malformed", good + line * 100),
        refuse("a text between the signatures", "malformed", good + "and more\n"),
    ]


def _flipped(octets: bytes) -> bytes:
    return bytes([octets[0] ^ 1]) + octets[1:]


def accepts() -> list[Json]:
    keys = [log.vkey(name, log.WITNESS, key) for name, key in WITNESSES.items()]
    mine = log.vkey(ORIGIN, log.LOG, LOG)

    def policy(quorum: int) -> Json:
        return {"log": mine, "witnesses": keys, "quorum": quorum}

    def take(reason: str, quorum: int, text: str, size: int = 300) -> Json:
        expected = {"refusal": None, "origin": ORIGIN, "size": size, "root": root(size).hex()}
        return case(reason, {"note": {"hex": text.encode().hex()}, "policy": policy(quorum)}, expected)

    def refuse(
        reason: str, refusal: str, quorum: int, text: str, effect: str = UNSEEN, **changed: Any
    ) -> Json:
        given = {"note": {"hex": text.encode().hex()}, "policy": policy(quorum) | changed}
        return case(reason, given, {"refusal": refusal}, effect)

    def of(text: str) -> str:
        return signed(text)

    stranger = Key("a witness that nobody named")
    unknown = signed(one=WHEN) + log.cosignature(TEXT, "four.invalid/w", stranger, WHEN)
    w = WITNESSES["one.invalid/w"]
    by_witnesses = f"{TEXT}\n{log.cosignature(TEXT, 'one.invalid/w', w, WHEN)}"
    sized, coded = TEXT.split("\n")[1:3]
    return [
        take("no witness is required", 0, signed()),
        take("two of three are required, and two have cosigned", 2, signed(one=WHEN, three=WHEN)),
        take("all of them", 3, signed(one=WHEN, two=WHEN, three=WHEN)),
        take("an empty log", 0, signed(log.checkpoint(ORIGIN, 0, root(0))), 0),
        take("extension lines are ignored", 0, signed(TEXT + "an extension\n")),
        refuse("one of two is missing", "too-few-witnesses", 2, signed(two=WHEN)),
        refuse(
            "one witness twice is one",
            "too-few-witnesses",
            2,
            signed(one=WHEN) + log.cosignature(TEXT, "one.invalid/w", w, WHEN + 1),
        ),
        refuse("a witness that the policy does not name", "too-few-witnesses", 2, unknown),
        refuse("witnesses alone, without the log itself", "bad-signature", 1, by_witnesses),
        refuse(
            "a wrong cosignature, though it is not needed",
            "bad-signature",
            0,
            signed() + log.cosignature("x\n", "one.invalid/w", w, WHEN),
        ),
        refuse(
            "the checkpoint of another log by the same key",
            "bad-signature",
            0,
            of(log.checkpoint("other.invalid/log", 300, root(300))),
            SPLIT,
        ),
        refuse("a size with a leading zero", "malformed", 0, of(f"{ORIGIN}\n0{sized}\n{coded}\n"), LOOSE),
        refuse("a size below zero", "malformed", 0, of(f"{ORIGIN}\n-1\n{coded}\n"), LOOSE),
        refuse(
            "a root hash of 31 octets",
            "malformed",
            0,
            of(f"{ORIGIN}\n{sized}\n{log.coded(root(300)[:-1])}\n"),
            LOOSE,
        ),
        refuse("a text of two lines", "malformed", 0, of(f"{ORIGIN}\n{sized}\n"), LOOSE),
        refuse("an empty log with the root of another", "malformed", 0, of(f"{ORIGIN}\n0\n{coded}\n"), SPLIT),
        refuse("an empty line among the extensions", "malformed", 0, of(f"{TEXT}a\n\nb\n"), LOOSE),
        refuse("a policy that requires more witnesses than it names", "malformed", 4, signed()),
        refuse(
            "a policy that names a witness twice",
            "malformed",
            1,
            signed(one=WHEN),
            witnesses=[keys[0], keys[0]],
        ),
        refuse("a policy with the key of a witness for the log", "malformed", 0, signed(), log=keys[0]),
        refuse("a policy with an unknown member", "malformed", 0, signed(), groups=[]),
    ]


def requests() -> list[Json]:
    note = signed()
    proof = log.subproof(257, list(leaves(300)), whole=True)

    def body(old: str, hashes: list[str], text: str = note) -> str:
        return f"old {old}\n" + "".join(f"{one}\n" for one in hashes) + "\n" + text

    def take(reason: str, old: int, hashes: list[bytes]) -> Json:
        given = {"body": {"hex": body(str(old), [log.coded(one) for one in hashes]).encode().hex()}}
        return case(
            reason, given, {"refusal": None, "old": old, "proof": hexes(hashes), "note": note.encode().hex()}
        )

    def refuse(reason: str, text: str) -> Json:
        return case(reason, {"body": {"hex": text.encode().hex()}}, {"refusal": "malformed"}, LOOSE)

    good = [log.coded(one) for one in proof]
    return [
        take("the first checkpoint: no proof", 0, []),
        take("a proof from 257", 257, proof),
        refuse("an empty body", ""),
        refuse("no note", body("257", good, "")),
        refuse("no empty line", body("257", good).replace("\n\n", "\n")),
        refuse("a size with a leading zero", body("0257", good)),
        refuse("no size", body("", good)),
        refuse("a proof from nothing", body("0", good)),
        refuse("a hash of 31 octets", body("257", [log.coded(proof[0][:-1]), *good[1:]])),
        refuse("a line that is no base64", body("257", ["!" * 44, *good[1:]])),
        refuse("64 hashes", body("257", [good[0]] * 64)),
    ]
