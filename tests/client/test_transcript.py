"""The record of a sync, as two files."""

import contextlib
import errno
import hmac
import json

import pytest

from contactsync.client.core.planner import Options
from contactsync.client.recording import Recording
from contactsync.client.transcript import (
    MAX_LINE,
    BadTranscript,
    Closed,
    Hidden,
    Piece,
    Transcript,
    private_path,
    read_transcript,
)
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, NetworkError, OurError

SECRET = b"cs_secret-of-somebody"


def recording(path, **options):
    return Recording(path, "https://server", Options(), hides={"credential": SECRET}, **options)


@contextlib.contextmanager
def begun(path, *pieces, error=None):
    """A recording of a sync that sends and receives these pieces, and ends with this error."""
    with recording(path) as one:
        one.begins({"root.json": b"{}"}, [b"tel:+491512345671"])
        for sent, octets in pieces:
            one.record(1, sent, memoryview(octets))
        yield one
        if error is not None:
            one.closed(1)
            raise error


def test_a_sync_that_sent_nothing_leaves_nothing(tmp_path):
    path = tmp_path / "transcript"
    with recording(path) as one:
        one.begins({}, [])
    assert list(tmp_path.iterdir()) == [], "the same command may be tried again"
    with pytest.raises(NetworkError), recording(path):
        raise NetworkError("no way to the server")
    assert list(tmp_path.iterdir()) == []
    with begun(path) as one:
        one.record(1, True, memoryview(b"GET"))
    assert [piece.data for piece in read_transcript(path)] == [b"GET"]
    assert {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {
        "transcript": 0o600,
        "transcript.private": 0o600,
    }


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_the_credential_is_hidden_wherever_it_is_cut(tmp_path, cut):
    """A server may send it back, in two pieces."""
    path, text = tmp_path / "transcript", b"before " + SECRET + b" after"
    with begun(path) as one:
        one.record(1, True, memoryview(b"Bearer " + SECRET + b"\r\n"))
        one.record(1, False, memoryview(text[: 7 + cut]))
        one.record(1, False, memoryview(text[7 + cut :]))
        one.record(1, False, memoryview(SECRET[:cut]))  # the end of what came
        one.closed(1)
    pieces = list(read_transcript(path))
    key = bytes.fromhex(json.loads(private_path(path).read_bytes())["key"])
    keyed = hmac.digest(key, b"credential\0" + SECRET, "sha256").hex()
    assert pieces[0].hidden == (Hidden(7, len(SECRET), "credential", keyed),)
    assert pieces[0].data == b"Bearer " + bytes(len(SECRET)) + b"\r\n"
    received = b"".join(one.data for one in pieces if not one.sent)
    assert received == b"before " + bytes(len(SECRET)) + b" after" + SECRET[:cut]
    assert SECRET not in b"".join(one.data for one in pieces)
    ending = Transcript.read(path).ending
    assert (ending.sent, ending.received) == (len(SECRET) + 9, len(received)), "every octet counts"


def test_how_it_ended_is_said(tmp_path):
    for name, error, ended in (
        ("failed", NetworkError("the connection broke"), ("failed", "NetworkError")),
        ("interrupted", KeyboardInterrupt(), ("interrupted", None)),
    ):
        with pytest.raises(type(error)), begun(tmp_path / name, (True, b"GET"), error=error):
            pass
        transcript = Transcript.read(tmp_path / name)
        assert (transcript.ending.outcome, transcript.ending.error) == ended
        assert transcript.events == (Piece(1, True, b"GET"), Closed(1))


def test_a_disk_that_is_full_leaves_neither_file_and_the_sync_goes_on(tmp_path, monkeypatch):
    class Full:
        def write(self, _octets):
            raise OSError(errno.ENOSPC, "No space left on device")

    def refused(*_given, **_named):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    def sync(change):
        went_on = []
        with begun(tmp_path / "transcript", (True, b"GET")) as one:
            change(one)
            one.record(1, False, memoryview(b"200"))
            went_on.append(one)
        assert went_on

    with pytest.raises(OurError, match="could not be written: No space"):
        sync(lambda one: monkeypatch.setattr(one, "_file", Full()))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OurError, match="quota"):
        sync(lambda _one: monkeypatch.setattr(durable, "write", refused))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["transcript", "transcript.private"])
def test_neither_file_is_overwritten(tmp_path, name):
    (tmp_path / name).write_text("of another sync")
    with pytest.raises(BadInput, match=f"{name} already exists"), recording(tmp_path / "transcript"):
        pass
    assert (tmp_path / name).read_text() == "of another sync"
    with pytest.raises(BadInput, match="cannot create"), recording(tmp_path / "missing" / "file"):
        pass


def test_a_transcript_of_the_first_version_is_refused_with_a_way_out(tmp_path):
    path = tmp_path / "transcript"
    path.write_text('{"format": "contactsync-transcript-1", "server": "https://server"}\n')
    with pytest.raises(BadInput, match="earlier version: it contains the credential") as refused:
        list(read_transcript(path))
    assert "sync again" in refused.value.hint
    assert "delete" in refused.value.hint


LINES = {
    "true is no connection": b'{"connection":true,"sent":"R0VU"}\n',
    "nor is a fraction": b'{"connection":1.9,"sent":"R0VU"}\n',
    "nor a string": b'{"connection":"1","sent":"R0VU"}\n',
    "both directions": b'{"connection":1,"sent":"R0VU","received":"R0VU"}\n',
    "white space": b'{"connection": 1,"sent":"R0VU"}\n',
    "another base64": b'{"connection":1,"sent":"R0V"}\n',
    "hidden beyond the end": b'{"connection":1,"sent":"R0VU","hidden":[[4,1,"credential","00"]]}\n',
    "hidden octets beyond measure": b'{"connection":1,"sent":"","hidden":[[0,9999999999,"c","0"]]}\n',
    "a line without an end": b'{"connection":1,"sent":"R0VU"}',
    "a line that is too long": b'{"connection":1,"sent":"' + b"A" * MAX_LINE + b'"}\n',
    "a number that is too long": b'{"connection":1' + b"0" * 5000 + b',"sent":""}\n',
    "depth": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "not text": b"\xff\xfe\n",
    "a second opening": b"",
}


@pytest.mark.parametrize("what", LINES)
def test_a_line_that_no_sync_writes_is_refused_by_its_number(tmp_path, what):
    path = tmp_path / "transcript"
    with begun(path) as one:
        one.record(1, True, memoryview(b"GET"))
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + (LINES[what] or first) + b"".join(rest))
    with pytest.raises(BadInput, match="line 2: "):
        Transcript.read(path)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("began", -1),
        ("began", 10**30),
        ("began", True),
        ("options", ["abc"]),
        ("options", {"max_download": float("nan")}),
        ("trusted", {"root.json": "?"}),
        ("server", "ftp://x"),
    ],
)
def test_an_opening_that_no_sync_writes_is_refused(tmp_path, member, value):
    path = tmp_path / "transcript"
    with begun(path) as one:
        one.record(1, True, memoryview(b"GET"))
    first, *rest = path.read_bytes().splitlines(keepends=True)
    changed = json.dumps(json.loads(first) | {member: value}, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(changed + b"".join(rest))
    with pytest.raises(BadTranscript, match="line 1: not a line of a transcript"):
        Transcript.read(path)


def test_an_empty_file_and_one_that_goes_on(tmp_path):
    path = tmp_path / "transcript"
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="the end is missing"):
        Transcript.read(path)
    with begun(path.with_name("good")) as one:
        one.record(1, True, memoryview(b"GET"))
    octets = path.with_name("good").read_bytes()
    path.write_bytes(octets + octets.splitlines(keepends=True)[1])
    with pytest.raises(BadInput, match="more after its end"):
        Transcript.read(path)
