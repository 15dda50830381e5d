"""TUF metadata in plain Python, from docs/http-api.md alone: canonical form, Ed25519 (RFC 8032), files."""

import hashlib
import json
from typing import Any

import reference as ref

Json = dict[str, Any]
EXPIRES = {"root": "2031-01-01T00:00:00Z", "targets": "2030-04-01T00:00:00Z"}
ROLES = ("root", "targets", "snapshot", "timestamp")


def canonical(value: Any) -> bytes:
    """OLPC Canonical JSON, as http-api.md describes it ("What is signed")."""
    if isinstance(value, dict):
        members = (canonical(name) + b":" + canonical(value[name]) for name in sorted(value))
        return b"{" + b",".join(members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, str):
        return b'"' + value.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
    return json.dumps(value).encode()


# --- RFC 8032, section 5.1 ---

BASE_Y = 4 * pow(5, -1, ref.p) % ref.p


def _base() -> ref.Element:
    x2 = (BASE_Y**2 - 1) * pow(ref.D * BASE_Y**2 + 1, -1, ref.p) % ref.p
    x = pow(x2, (ref.p + 3) // 8, ref.p)
    if x * x % ref.p != x2:
        x = x * pow(2, (ref.p - 1) // 4, ref.p) % ref.p
    if x % 2:
        x = ref.p - x
    return x, BASE_Y, 1, x * BASE_Y % ref.p


BASE = _base()


def _point(element: ref.Element) -> bytes:
    x, y, z, _ = element
    inverse = pow(z, -1, ref.p)
    x, y = x * inverse % ref.p, y * inverse % ref.p
    return (y | (x & 1) << 255).to_bytes(32, "little")


class Key:
    """An Ed25519 key pair, by a label."""

    def __init__(self, label: str) -> None:
        self.secret = hashlib.sha256(label.encode()).digest()
        digest = hashlib.sha512(self.secret).digest()
        number = int.from_bytes(digest[:32], "little")
        self.scalar = number & ((1 << 254) - 8) | 1 << 254
        self.prefix = digest[32:]
        self.public = _point(ref.multiply(self.scalar, BASE))
        self.value = {"keytype": "ed25519", "keyval": {"public": self.public.hex()}, "scheme": "ed25519"}
        self.id = hashlib.sha256(canonical(self.value)).hexdigest()

    def sign(self, message: bytes) -> bytes:
        r = int.from_bytes(hashlib.sha512(self.prefix + message).digest(), "little") % ref.ORDER
        first = _point(ref.multiply(r, BASE))
        k = int.from_bytes(hashlib.sha512(first + self.public + message).digest(), "little")
        return first + ((r + k * self.scalar) % ref.ORDER).to_bytes(32, "little")


def file(signed: Json, keys: list[Key], *, over: bytes | None = None) -> bytes:
    """A metadata file; the signatures are over the canonical form, unless something else is given."""
    message = canonical(signed) if over is None else over
    signatures = [{"keyid": key.id, "sig": key.sign(message).hex()} for key in keys]
    return json.dumps({"signatures": signatures, "signed": signed}, indent=1, sort_keys=True).encode()


def described(data: bytes, version: int) -> Json:
    return {"hashes": {"sha256": hashlib.sha256(data).hexdigest()}, "length": len(data), "version": version}


def root(version: int, keys: dict[str, list[Key]], thresholds: Json | None = None, **more: Any) -> Json:
    every = [key for role in ROLES for key in keys[role]]
    return {
        "_type": "root",
        "consistent_snapshot": True,
        "expires": "2031-01-01T00:00:00Z",
        "keys": {key.id: key.value for key in every},
        "roles": {
            role: {"keyids": [key.id for key in keys[role]], "threshold": (thresholds or {}).get(role, 1)}
            for role in ROLES
        },
        "spec_version": "1.0.31",
        "version": version,
        **more,
    }


def targets(version: int, manifests: dict[str, bytes], **more: Any) -> Json:
    listed = {
        f"{name}.json": {"hashes": {"sha256": hashlib.sha256(data).hexdigest()}, "length": len(data)}
        for name, data in manifests.items()
    }
    return {"_type": "targets", "expires": "2030-04-01T00:00:00Z", "spec_version": "1.0.31",
            "targets": listed, "version": version, **more}  # fmt: skip


def snapshot(version: int, targets_file: bytes, of: int, **more: Any) -> Json:
    return {"_type": "snapshot", "expires": "2030-02-01T00:00:00Z", "spec_version": "1.0.31",
            "meta": {"targets.json": described(targets_file, of)}, "version": version, **more}  # fmt: skip


def timestamp(version: int, snapshot_file: bytes, of: int, **more: Any) -> Json:
    return {"_type": "timestamp", "expires": "2030-01-08T00:00:00Z", "spec_version": "1.0.31",
            "meta": {"snapshot.json": described(snapshot_file, of)}, "version": version, **more}  # fmt: skip
