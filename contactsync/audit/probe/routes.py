"""Every route as it must answer who may ask, and that it does not answer who may not (docs/http-api.md)."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

from contactsync.audit.probe.probed import Probed
from contactsync.audit.probe.refusals import BINARY
from contactsync.audit.probe.wire import Fields, RawReply, shown
from contactsync.identifiers import title_of
from contactsync.publication.manifest import DataFile, Manifest
from contactsync.publication.tuf.follower import METADATA_PATH, TARGETS_PATH

JSON: Final = "application/json"
MOST_FILES: Final = 60
"""Data files that are asked for without a credential; of more, as many are picked at random."""

SMALL_FILE: Final = 1 << 20
"""Octets of a file whose ranges are compared with the whole."""

_FOREVER: Final = ("max-age=31536000", "immutable")


@dataclass(frozen=True, slots=True)
class ServedRoute:
    """What a GET must give. `caching` are directives of Cache-Control."""

    path: str
    media_type: str
    caching: tuple[str, ...]
    etag: str = ""
    is_private: bool = False


def routes_of(probed: Probed, versions: dict[str, int], file: DataFile | None) -> list[ServedRoute]:
    """All GET routes. `versions` are those of the current metadata, by role."""
    found = [
        ServedRoute("/v1/health", JSON, ("no-store",)),
        ServedRoute(f"{METADATA_PATH}timestamp.json", JSON, ("no-cache",)),
        ServedRoute(f"{METADATA_PATH}root.json", JSON, ("no-cache",)),
        *(
            ServedRoute(f"{METADATA_PATH}{versions[role]}.{role}.json", JSON, _FOREVER)
            for role in ("root", "snapshot", "targets")
        ),
        ServedRoute("/v1/account", JSON, ("no-store",), is_private=True),
    ]
    for manifest in probed.manifests.values():
        name = f"{manifest.sha256()}.{manifest.audience}.json"
        found.append(ServedRoute(f"{TARGETS_PATH}{name}", JSON, _FOREVER))
    if file is not None:
        path, etag = f"/v1/data/{file.sha256}", f'"{file.sha256}"'
        found.append(ServedRoute(path, BINARY[1], ("private", *_FOREVER), etag, is_private=True))
    return found


def smallest_file(manifest: Manifest) -> DataFile | None:
    """The data file that is fetched the fastest; None if there is none."""
    return min(manifest.files().values(), key=lambda one: one.length, default=None)


def check_routes(probed: Probed, versions: dict[str, int], file: DataFile | None) -> None:
    """GET and HEAD of each, with a credential only where one is needed; then ranges of a file."""
    small = file if file is not None and file.length <= SMALL_FILE else None
    for route in routes_of(probed, versions, small):
        with probed.report.guard("headers", f"GET {route.path}"):
            _check_route(probed, route)
    if file is None or file.length > SMALL_FILE:
        probed.report.leave("ranges", "GET /v1/data", "there is no data file of at most a megabyte")
        return
    with probed.report.guard("ranges", f"GET /v1/data/{file.sha256}"):
        _check_ranges(probed, file)


def _check_route(probed: Probed, route: ServedRoute) -> None:
    fields = [("Accept-Encoding", "gzip, br"), *([probed.first.authorization] if route.is_private else [])]
    got = probed.wire.ask("GET", route.path, fields)
    head = probed.wire.ask("HEAD", route.path, fields)
    faults = [
        f"{method} was answered with {reply}"
        for method, reply in (("GET", got), ("HEAD", head))
        if reply.status != 200
    ]
    if not faults:
        faults += _faults(route, got)
        same = ("content-type", "content-length", "cache-control", "etag")
        faults += [f"HEAD has another {name} than GET" for name in same if head.get(name) != got.get(name)]
    _judge(probed, f"GET {route.path}", faults)


def _faults(route: ServedRoute, reply: RawReply) -> list[str]:
    faults = []
    if reply.media_type != route.media_type:
        faults.append(f"its media type is {shown(reply.media_type)}, not {route.media_type}")
    given = {one.strip().lower() for one in reply.get("cache-control").split(",")}
    if missing := set(route.caching) - given:
        faults.append(f"Cache-Control lacks {', '.join(sorted(missing))}")
    if route.is_private and "public" in given:
        faults.append("Cache-Control says public")
    if route.etag and reply.get("etag") != route.etag:
        faults.append(f"ETag is {shown(reply.get('etag'))} instead of the SHA-256")
    if route.etag and reply.get("accept-ranges") != "bytes":
        faults.append("there is no Accept-Ranges: bytes")
    return faults


def _judge(probed: Probed, place: str, faults: list[str]) -> None:
    if faults:
        probed.report.disprove("headers", place, "; ".join(faults))
    else:
        probed.report.prove("headers")


def _check_ranges(probed: Probed, file: DataFile) -> None:
    """Single and several ranges give those octets; what must be ignored gives the whole."""
    path, report = f"/v1/data/{file.sha256}", probed.report

    def get(*fields: tuple[str, str]) -> RawReply:
        return probed.wire.ask("GET", path, [probed.first.authorization, *fields])

    whole = get().body
    if hashlib.sha256(whole).hexdigest() != file.sha256:
        report.disprove("ranges", path, "it is not the file that the manifest names")
        return
    size = len(whole)
    single = {"0-0": (0, 1), "2-9": (2, 10), f"{size - 4}-": (size - 4, size), "-3": (size - 3, size)}
    single |= {f"1-{10 * size}": (1, size), f"-{10 * size}": (0, size)}
    for value, (first, end) in single.items():
        for more in ((), (("If-Range", f'"{file.sha256}"'),)):
            reply = get(("Range", f"bytes={value}"), *more)
            stated = reply.get("content-range")
            good = (reply.status, reply.body, stated) == (
                206,
                whole[first:end],
                f"bytes {first}-{end - 1}/{size}",
            )
            _ranged(probed, path, f"bytes={value}", reply, good=good)
    ignored: list[Fields] = [
        [("Range", "lines=1-2")],
        [("Range", "bytes=2-5"), ("If-Range", f'"{"0" * 64}"')],
    ]
    for fields in ignored:
        reply = get(*fields)
        _ranged(probed, path, str(dict(fields)), reply, good=(reply.status, reply.body) == (200, whole))
    reply = get(("Range", "bytes=0-1,6-8"))
    parts = [whole[0:2], whole[6:9]]
    if reply.status == 206 and reply.media_type == "multipart/byteranges":
        # In any order, and not necessarily all of them: the document lets a proxy do that.
        said = re.findall(rb"Content-Range: bytes ([0-9]+)-([0-9]+)/([0-9]+)\r\n", reply.body, re.IGNORECASE)
        good = bool(said) and all(
            whole[int(first) : int(last) + 1] in reply.body and int(total) == size
            for first, last, total in said
        )
    else:
        good = (reply.status == 200 and reply.body == whole) or (reply.status == 206 and reply.body in parts)
    _ranged(probed, path, "bytes=0-1,6-8", reply, good=good)


def _ranged(probed: Probed, path: str, what: str, reply: RawReply, *, good: bool) -> None:
    if good:
        probed.report.prove("ranges")
    else:
        said = f"{reply}, {len(reply.body)} octets, Content-Range {shown(reply.get('content-range'))}"
        probed.report.disprove("ranges", path, f"{what} was answered with {said}")


def check_credentials(probed: Probed) -> None:
    """No data file, account or evaluation without a credential; metadata without one."""
    report = probed.report
    files = {
        file.sha256: f"{manifest.audience}: {kind} of {title_of(partition.name)}"
        for manifest in probed.manifests.values()
        for partition in manifest.all_partitions()
        for kind, file in (
            ("base", partition.base),
            *(("delta", one.file) for one in partition.deltas),
            *(("patch", one.file) for one in partition.patch_files),
            *([("screen", partition.screen)] if partition.screen is not None else []),
        )
    }
    files |= {
        manifest.rows.level.sha256: f"{manifest.audience}: level of its rows"
        for manifest in probed.manifests.values()
        if manifest.rows is not None
    }
    names = sorted(files)
    while len(names) > MOST_FILES:
        names.pop(secrets.randbelow(len(names)))
    if len(names) < len(files):
        what = (
            f"{len(names)} of {len(files):,} data files were asked for without a credential, picked at random"
        )
        report.note("credential", "GET /v1/data", what)
    for name in names:
        for method, fields in (("GET", [("Range", "bytes=0-0")]), ("HEAD", [])):
            place = f"{method} /v1/data/{name} ({files[name]})"
            with report.guard("credential", place):
                reply = probed.wire.ask(method, f"/v1/data/{name}", fields)
                _refused(probed, place, reply)
    for method, path, body in (
        ("GET", "/v1/account", None),
        ("POST", probed.path(probed.first), bytes(32)),
    ):
        with report.guard("credential", f"{method} {path}"):
            reply = probed.wire.ask(method, path, [BINARY], body)
            _refused(probed, f"{method} {path}", reply)
    _other_audiences(probed)


def _refused(probed: Probed, place: str, reply: RawReply) -> None:
    if reply.status == 401:
        probed.report.prove("credential")
    else:
        probed.report.disprove("credential", place, f"without a credential it is answered with {reply}")


def _other_audiences(probed: Probed) -> None:
    """An account reaches no file of another audience, unless its own has the same one."""
    own = probed.manifest.files()
    for audience, manifest in probed.manifests.items():
        foreign = [name for name in manifest.files() if name not in own]
        if audience == probed.first.audience or not foreign:
            continue
        place = f"GET /v1/data/{foreign[0]} ({audience})"
        with probed.report.guard("credential", place):
            fields = [probed.first.authorization, ("Range", "bytes=0-0")]
            reply = probed.wire.ask("GET", f"/v1/data/{foreign[0]}", fields)
            if (reply.status, reply.kind) == (404, "not-found"):
                probed.report.prove("credential")
            else:
                probed.report.disprove(
                    "credential", place, f"an account of {probed.first.audience} gets {reply}"
                )
