"""Parts of a data file by HTTP ranges (RFC 9110 §14), many with one request.

Buckets are scattered over a file; one request for each would cost a round trip each. A server may send fewer
ranges than requested, join neighbours, or not support lists of ranges: what is missing is requested again, in
the end range by range.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

import urllib3

from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadReply, NetworkError
from contactsync.publication.manifest import DataFile

MAX_RANGES = 64
"""In one request: servers refuse more than 100 or 200."""

_OVERHEAD = 1024  # octets around a part, or between two parts that a server joins
_HEAD_LIMIT = 512
_MULTIPART = re.compile(
    r'multipart/byteranges\s*;\s*(?:[\w-]+=[^;"]*;\s*)*'
    r'boundary=(?:"([ !#-~]{1,70})"|([!#-:<-~]{1,70}))\s*(?:;.*)?',
    re.IGNORECASE | re.ASCII,
)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


def get_data(
    transport: Transport, file: DataFile, ranges: str
) -> AbstractContextManager[urllib3.BaseHTTPResponse]:
    """Request ranges of a data file (`0-99,200-`) of the server itself, on condition that it is this file."""
    return transport.get(f"/v1/data/{file.sha256}", headers=_fields(file, ranges), authorised=True)


def get_file(
    transport: Transport, file: DataFile, ranges: str
) -> AbstractContextManager[urllib3.BaseHTTPResponse]:
    """Request a data file, or the end of it; it may come from the server's object store."""
    return transport.get_file(f"/v1/data/{file.sha256}", headers=_fields(file, ranges))


def _fields(file: DataFile, ranges: str) -> dict[str, str]:
    return {"Range": f"bytes={ranges}", "If-Range": f'"{file.sha256}"'} if ranges else {}


def fetch_ranges(transport: Transport, file: DataFile, wanted: Sequence[range]) -> list[bytes]:
    """The octets of a data file at each of these places, in the same order, unverified. Some may be empty.

    Raises NetworkError, Refused, and BadReply if the server sends anything but what was requested.
    """
    whole = joined(filter(None, wanted))
    held: dict[range, bytes] = {}
    at_once, attempts = MAX_RANGES, transport.patience.attempts()
    while missing := [span for span in whole if span not in held]:
        asked = missing[:at_once]
        try:
            found = _request(transport, file, asked)
        except NetworkError as error:
            attempts.failed(error)
            continue
        attempts.succeeded()
        if not found:
            if len(asked) == 1:
                raise BadReply(
                    f"{transport.base_url} did not send the range that was requested",
                    hint="use --privacy download with this server, and tell the operator",
                )
            at_once = 1  # it may support single ranges
        held |= found
    starts = [span.start for span in whole]
    around = [whole[bisect.bisect(starts, span.start) - 1] if span else None for span in wanted]
    return [
        b"" if place is None else _cut(held[place], place, span)
        for span, place in zip(wanted, around, strict=True)
    ]


def range_list(spans: Iterable[range]) -> str:
    """Ranges as the field `Range` lists them (RFC 9110 §14.1.2)."""
    return ",".join(f"{span.start}-{span.stop - 1}" for span in spans)


def joined(spans: Iterable[range]) -> list[range]:
    """The same octets in ascending order, adjacent ranges joined."""
    whole: list[range] = []
    for span in sorted(spans, key=lambda span: (span.start, span.stop)):
        if whole and span.start <= whole[-1].stop:
            whole[-1] = range(whole[-1].start, max(whole[-1].stop, span.stop))
        else:
            whole.append(span)
    return whole


def _cut(octets: bytes, place: range, span: range) -> bytes:
    """The octets of `span`, which lies within `place`."""
    return octets[span.start - place.start : span.stop - place.start]


def _request(transport: Transport, file: DataFile, asked: list[range]) -> dict[range, bytes]:
    """Send one request; the requested ranges that came back, none if the server ignores ranges."""
    with get_data(transport, file, range_list(asked)) as reply:
        if reply.status != 206:
            return {}
        limit = sum(map(len, asked)) + _OVERHEAD * (len(asked) + 1)
        parts = dict(_parts(reply, b"".join(transport.data_chunks(reply, limit)), file.length))
    return {
        span: _cut(octets, place, span)
        for span in asked
        for place, octets in parts.items()
        if place.start <= span.start and span.stop <= place.stop
    }


def _parts(reply: urllib3.BaseHTTPResponse, body: bytes, length: int) -> Iterator[tuple[range, bytes]]:
    """The parts of a reply with status 206: where each lies in the file, and its octets."""
    if "Content-Range" in reply.headers:
        place = _place(reply.headers["Content-Range"], length)
        if len(body) != len(place):
            raise _wrong()
        yield place, body
        return
    delimiter = b"--" + _boundary(reply.headers.get("Content-Type", ""))
    at = body.find(delimiter)
    if at < 0:
        raise _wrong()
    while True:
        at += len(delimiter)
        if body[at : at + 2] == b"--":
            return
        end = body.find(b"\r\n\r\n", at, at + _HEAD_LIMIT)
        head = body[at:end].split(b"\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head if b":" in line)
        if end < 0 or b"content-range" not in fields:
            raise _wrong()
        place = _place(fields[b"content-range"].strip().decode("latin-1"), length)
        octets = body[end + 4 : end + 4 + len(place)]
        at = end + 4 + len(place) + 2
        if len(octets) != len(place) or body[at - 2 : at + len(delimiter)] != b"\r\n" + delimiter:
            raise _wrong()
        yield place, octets


def place_of(content_range: str) -> tuple[range, int] | None:
    """The range in a Content-Range header, and the length of the whole file; None if it is malformed."""
    match = _CONTENT_RANGE.fullmatch(content_range)
    return (range(int(match[1]), int(match[2]) + 1), int(match[3])) if match else None


def _place(content_range: str, length: int) -> range:
    place, total = place_of(content_range) or (range(0), -1)
    if total != length or not place or place.stop > length:
        raise _wrong()
    return place


def _boundary(content_type: str) -> bytes:
    """The boundary between the parts of multipart/byteranges (RFC 2046 §5.1.1)."""
    match = _MULTIPART.fullmatch(content_type[:_HEAD_LIMIT])
    if match is None:
        raise _wrong()
    return (match[1] or match[2]).encode("ascii")


def _wrong() -> BadReply:
    return BadReply(
        "the server sent an invalid reply to a range request",
        hint="use --privacy download with this server, and tell the operator",
    )
