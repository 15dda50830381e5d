"""Object stores of each kind do the same: conditional puts, lists, parts, and errors that say what to do."""

import hashlib
import os
import socket
import traceback

import pytest
import urllib3
from store_servers import CUT, FORBID, LOSE, PASS, REFUSE, SLOW

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.objects.address import StoreUrl
from contactsync.server.objects.opening import open_objects
from contactsync.server.objects.patient import ATTEMPTS
from contactsync.server.objects.ports import CHANGES, Conflict, Headers, Unanswered

HEADERS = Headers("application/json", CHANGES)
pytestmark = pytest.mark.slow


def names(objects, below="v1"):
    return {one.name: one.size for one in objects.entries(below)}


def test_an_object_is_created_once(store_url):
    objects = open_objects(store_url)
    assert objects.read("v1/a", 100) is None
    assert objects.size("v1/a") is None
    tag = objects.create("v1/a", b"one", HEADERS)
    assert objects.read("v1/a", 100) == (b"one", tag)
    with pytest.raises(Conflict):
        objects.create("v1/a", b"two", HEADERS)
    assert objects.read("v1/a", 100) == (b"one", tag)
    assert objects.create("v1/a", b"one", HEADERS) == tag  # it is what was to be put


def test_an_object_is_replaced_over_the_version_that_was_read_alone(store_url):
    objects = open_objects(store_url)
    first = objects.create("v1/a", b"one", HEADERS)
    second = objects.replace("v1/a", b"two", first, HEADERS)
    assert second != first
    with pytest.raises(Conflict):
        objects.replace("v1/a", b"three", first, HEADERS)
    assert objects.read("v1/a", 100) == (b"two", second)
    with pytest.raises((Conflict, OurError)):
        objects.replace("v1/none", b"three", first, HEADERS)
    assert objects.size("v1/none") is None


def test_a_list_has_what_is_below_and_deleting_may_be_repeated(store_url):
    objects = open_objects(store_url)
    assert names(objects) == {}
    for name in ("v1/a", "v1/b/c", "v1/b/d", "v10/e", "lease.json"):
        objects.create(name, name.encode(), HEADERS)
    assert names(objects) == {"v1/a": 4, "v1/b/c": 6, "v1/b/d": 6}
    objects.delete(["v1/a", "v1/b/c", "v1/none"])
    objects.delete(["v1/a"])
    assert names(objects) == {"v1/b/d": 6}


def test_a_long_file_goes_in_parts_and_comes_out_whole(store_url, tmp_path):
    objects, file = open_objects(store_url), tmp_path / "long"
    octets = os.urandom(1 << 20) * 19
    file.write_bytes(octets)
    objects.upload("v1/data/long", file, HEADERS)
    assert objects.size("v1/data/long") == len(octets)
    found = objects.read("v1/data/long", len(octets))
    assert found is not None
    assert hashlib.sha256(found[0]).digest() == hashlib.sha256(octets).digest()
    with pytest.raises(OurError, match="longer than"):
        objects.read("v1/data/long", 1000)


@pytest.mark.parametrize("kind", ["moto", "ministack"])
def test_readers_are_told_what_may_be_cached(use_s3, kind):
    url = use_s3(kind)
    open_objects(url).create("v1/a", b"{}", HEADERS)
    signed = open_objects(url).signed_url("v1/a", 60)
    reply = urllib3.request("GET", signed, headers={"Range": "bytes=1-"})
    assert (reply.status, reply.data) == (206, b"}")
    assert (reply.headers["cache-control"], reply.headers["content-type"]) == (CHANGES, "application/json")
    assert "not-a-real-secret" not in signed


def test_a_put_whose_reply_was_lost_is_known_to_be_done(faulty):
    proxy, url = faulty
    objects = open_objects(url)
    lost = []

    def lose_each_first_put(asked):
        if asked.method == "PUT" and asked.path not in lost:
            lost.append(asked.path)
            return LOSE
        return PASS

    proxy.fault = lose_each_first_put
    tag = objects.create("v1/a", b"one", HEADERS)
    assert [one.status for one in proxy.asked if one.method == "PUT"][:2] == [200, 412]  # it was done at once
    assert objects.read("v1/a", 10) == (b"one", tag)
    lost.clear()
    tag = objects.replace("v1/a", b"two", tag, HEADERS)
    assert objects.read("v1/a", 10) == (b"two", tag)


def test_what_fails_in_passing_is_asked_again_and_what_goes_on_failing_is_said(faulty, monkeypatch):
    monkeypatch.setattr("contactsync.server.objects.patient._LONGEST_PAUSE", 0.3)
    proxy, url = faulty
    objects = open_objects(url)
    replies = iter([REFUSE, REFUSE, PASS, CUT, PASS, SLOW])
    proxy.fault = lambda _: next(replies, PASS)
    octets = b"x" * 1000
    objects.create("v1/a", octets, HEADERS)
    found = objects.read("v1/a", 2000)
    assert found is not None
    assert found[0] == octets
    assert objects.read("v1/a", 2000) == found
    proxy.fault = lambda _: REFUSE
    proxy.asked.clear()
    with pytest.raises(Unanswered, match=r"cannot read v1/a \(status 503\)") as raised:
        objects.read("v1/a", 2000)
    assert raised.value.hint
    assert ATTEMPTS <= len(proxy.asked) <= 3 * ATTEMPTS


def test_an_error_says_what_to_do_and_no_secret(use_s3):
    use_s3("moto")
    with pytest.raises(OurError, match=r"s3://no-such-bucket/x does not exist") as raised:
        open_objects("s3://no-such-bucket/x").create("a", b"", HEADERS)
    assert "bucket" in raised.value.hint


def test_a_refusal_is_told_without_what_the_reply_quotes(faulty):
    proxy, url = faulty
    proxy.fault = lambda _: FORBID
    with pytest.raises(OurError, match="no rights") as raised:
        open_objects(url).create("v1/a", b"one", HEADERS)
    assert "credentials" in raised.value.hint
    assert "quoted" not in "".join(
        traceback.format_exception(raised.value, chain=not raised.value.__suppress_context__)
    )
    assert len(proxy.asked) == 1


def test_credentials_may_come_from_a_file(use_s3, monkeypatch, tmp_path):
    url = use_s3("moto")
    file = tmp_path / "credentials"
    file.write_text("[work]\naws_access_key_id = test\naws_secret_access_key = other\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with pytest.raises(BadInput, match="has no credentials for the profile default"):
        open_objects(url)
    monkeypatch.setenv("AWS_PROFILE", "work")
    open_objects(url).create("v1/a", b"one", HEADERS)


def test_plain_http_is_for_this_machine_alone(use_s3, monkeypatch):
    url = use_s3("moto")
    monkeypatch.setattr("contactsync.server.objects.patient.ATTEMPTS", 1)
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:  # it is not one of the names of loopback
        elsewhere.settimeout(0.2)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.2:{elsewhere.getsockname()[1]}")
        with pytest.raises(Unanswered):
            open_objects(url).read("v1/a", 10)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("az://account/container/a", "az://account/container/a"),
        ("file:///srv/a%20b", "file:///srv/a%20b"),
    ],
)
def test_urls(text, shown):
    assert str(StoreUrl.parse(text)) == shown
    assert str(StoreUrl.parse(shown)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *(
            "bucket",
            "http://bucket",
            "s3:bucket",
            "s3://",
            "s3:///a",
            "az://account",
            "s3://b/../c",
            "s3://b/ä",
        ),
        *("s3://key:hidden@bucket/a", "s3://bucket/a?sig=hidden", "az://a/b?sv=hidden", "s3://b#hidden"),
        *("file://host/a", "file:a", "file:///", "file:///a/../b", "s3://[hidden/"),
    ],
)
def test_other_urls_are_refused_without_quoting_them(text):
    with pytest.raises(BadInput) as raised:
        StoreUrl.parse(text)
    assert raised.value.hint
    assert "hidden" not in f"{raised.value}{raised.value.hint}"
