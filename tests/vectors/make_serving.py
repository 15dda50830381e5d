"""What runs.json holds beside whole syncs: keys of epochs, tokens, names of repeated batches, charges."""

import hashlib
from typing import Any

import format_twin as twin
import reference as ref
import sync_twin
from make_epochs import SEED, SEED_2, drawn
from vector_text import case

Json = dict[str, Any]
OTHER_KEY = "a key is made that is not the one of the manifest, and all members are missed"


def keys() -> list[Json]:
    def one(reason: str, seed: bytes, audience: str, epoch: int) -> Json:
        secret, public = sync_twin.key_of(seed, audience, epoch)
        info = sync_twin.info_of(audience, epoch)
        expected = {
            "refusal": None,
            "info": info.hex(),
            "secret_key": sync_twin.le(secret).hex(),
            "public_key": ref.encode(public).hex(),
        }
        return case(reason, {"seed": seed.hex(), "audience": audience, "epoch": epoch}, expected)

    def bad(reason: str, seed: bytes) -> Json:
        given = {"seed": seed.hex(), "audience": "people", "epoch": 1}
        return case(reason, given, {"refusal": "wrong-length"}, OTHER_KEY)

    return [
        one("the first epoch", SEED, "people", 1),
        one(
            "the same seed in the next epoch: another key, though no server uses a seed twice",
            SEED,
            "people",
            2,
        ),
        one("the epoch after a rotation, with a seed of its own", SEED_2, "people", 2),
        one("the other audience", SEED, "business", 1),
        one("an epoch of several digits, in decimal", SEED, "people", 1234567890),
        one("a seed of zeros", bytes(32), "people", 1),
        bad("a seed that lost its last octet", SEED[:31]),
        bad("a seed with an octet behind it", SEED + b"\0"),
    ]


def tokens() -> list[Json]:
    def one(reason: str, output: bytes, q: int, r: int) -> Json:
        token = output[:10]
        value = int.from_bytes(token, "big") >> (80 - q - r)
        expected = {
            "refusal": None,
            "token": token.hex(),
            "value": twin.texts([value], q, r)[0],
            "slot": value >> r,
            "bucket": value >> (r + 12),
        }
        return case(reason, {"output": output.hex(), "slot_bits": q, "remainder_bits": r}, expected)

    some = hashlib.sha512(b"an output").digest()
    ones = b"\xff" * 64
    given = {"slot_bits": 12, "remainder_bits": 32}
    short = "the rest of the token is made up, and matches whom it happens to match"
    return [
        one("the least slot bits, 32 remainder bits", some, 12, 32),
        one("the least slot bits, 40 remainder bits", some, 12, 40),
        one("an odd number of digits", some, 17, 32),
        one("the most slot bits, 40 remainder bits", some, 32, 40),
        one("all ones", ones, 20, 40),
        one("all zeros", bytes(64), 20, 32),
        case(
            "an output of nine octets", given | {"output": some[:9].hex()}, {"refusal": "wrong-length"}, short
        ),
        case("an output of no octets", given | {"output": ""}, {"refusal": "wrong-length"}, short),
    ]


def repeats() -> list[Json]:
    secret = hashlib.sha256(b"the secret of a store of accounts").digest()
    batch = drawn("repeat", [], 8)
    body = sync_twin.body_of(batch)
    twisted = body[32:64] + body[:32] + body[64:]

    def one(reason: str, key: bytes, epoch: int, octets: bytes) -> Json:
        message = epoch.to_bytes(8, "big") + octets
        name = hashlib.blake2b(message, key=key, digest_size=16).hexdigest()
        return case(reason, {"secret": key.hex(), "epoch": epoch, "body": octets.hex()}, {"name": name})

    return [
        one("a batch of eight", secret, 1, body),
        one("the same batch for the next epoch is another one", secret, 2, body),
        one("two points in each other's place: another batch", secret, 1, twisted),
        one("one point less: another batch", secret, 1, body[:-32]),
        one("the same batch at another server", hashlib.sha256(secret).digest(), 1, body),
        one("an epoch of more than 32 bits", secret, 1 << 40, body[:32]),
    ]


DAY = 86_400_000


def charges() -> list[Json]:
    """Leaky buckets, as docs/http-api.md describes them ("Quotas")."""

    def one(reason: str, burst: int, per_day: int, *requests: tuple[int, int, str, int]) -> Json:
        level, at, names, epochs = 0, 0, {}, {}
        newest, granted, grants = 0, 0, []
        answers = []
        for now, epoch, name, points in requests:
            level, at = max(0, level - max(0, now - at) * per_day), max(at, now)
            key = (epoch, name)
            repeated = key in names and now - names[key] < DAY
            outcome = "charged"
            if repeated:
                outcome = "repeated"
            else:
                pays, use, left = points, 0, granted
                if epoch > newest and newest:
                    recent = [then for then in grants if now - then < 365 * DAY]
                    left = epochs[newest] if len(recent) < 2 else 0
                if epoch >= newest:
                    use = min(left, points)
                    pays = points - use
                if level + pays * DAY > burst * DAY:
                    outcome = "refused"
                else:
                    if epoch > newest:
                        if newest and left:
                            grants.append(now)
                        newest = epoch
                    if epoch == newest:
                        granted = left - use
                    epochs[epoch] = epochs.get(epoch, 0) + points
                    level += pays * DAY
                    names[key] = now
            answers.append({"outcome": outcome, "left": max(0, burst * DAY - level) // DAY})
        given = {
            "burst": burst,
            "per_day": per_day,
            "requests": [{"at": at, "epoch": e, "batch": n, "points": p} for at, e, n, p in requests],
        }
        return case(reason, given, {"answers": answers})

    start = 1_700_000_000_000
    return [
        one(
            "charged, repeated for nothing, and refused when the bucket is full",
            16,
            8,
            (start, 1, "a", 8),
            (start + 1, 1, "a", 8),
            (start + 2, 1, "b", 8),
            (start + 3, 1, "c", 8),
            (start + 4, 1, "b", 8),
        ),
        one(
            "what leaks out in a day; a point counts once all of it is back",
            16,
            8,
            (start, 1, "a", 16),
            (start + DAY - 1, 1, "b", 8),
            (start + DAY, 1, "b", 8),
        ),
        one(
            "the same batch after 24 hours is charged again, a millisecond before it is free",
            64,
            1,
            (start, 1, "a", 8),
            (start + DAY - 1, 1, "a", 8),
            (start + DAY, 1, "a", 8),
        ),
        one(
            "the same batch for another epoch is another batch",
            16,
            8,
            (start, 1, "a", 8),
            (start + 1, 2, "a", 8),
        ),
        one(
            "a clock that was set back: nothing leaks twice",
            16,
            8,
            (start, 1, "a", 16),
            (start - DAY, 1, "b", 8),
            (start + DAY // 2, 1, "b", 8),
            (start + DAY, 1, "b", 8),
        ),
    ]
