"""Publishing over the admin API: one at a time, asked for until it ends, with what came of it."""

import threading

from admin_tools import member
from server_tools import GERMAN

from contactsync.server.publishing.publisher import Publisher


def test_a_publish_is_begun_and_asked_for(admin, operator):
    admin("PUT", member(GERMAN))
    begun = admin("POST", "/v1/publications")
    assert (begun.status, begun.body["state"]) == (202, "running")
    assert begun.headers["location"] == f"/v1/publications/{begun.body['id']}"
    done = admin("GET", begun.headers["location"], prefer="respond-async, wait=60").body
    assert (done["state"], done["serial"], done["problem"]) == ("done", 1, None)
    (people,) = done["audiences"]
    assert (people["audience"], people["edition"], people["members"], people["changed"]) == (
        "people",
        1,
        1,
        ["49"],
    )
    assert operator.manifest().edition == 1
    assert admin("GET", "/v1/publications").body == {"publications": [done]}
    assert admin("GET", "/v1/publications/0").slug == "not-found"
    unchanged = admin("POST", "/v1/publications", prefer="wait=60").body
    assert unchanged["audiences"][0]["changed"] is None


def test_a_new_epoch_is_an_option(admin, operator):
    admin("PUT", member(GERMAN))
    admin("POST", "/v1/publications", prefer="wait=60")
    begun = admin("POST", "/v1/publications", {"new_epoch": True}, prefer="wait=60")
    assert (begun.status, begun.body["new_epoch"], operator.manifest().epoch) == (200, True, 2)
    assert admin("POST", "/v1/publications", {"new_epoch": "yes"}).slug == "not-valid"


def test_only_one_runs_at_a_time_and_a_repeat_names_it(admin, monkeypatch):
    may_end = threading.Event()
    whole = Publisher.publish

    def slow(self, **options):
        may_end.wait(60)
        return whole(self, **options)

    monkeypatch.setattr(Publisher, "publish", slow)
    key = '"6f0c1c9e-7d5f-4f0e-9a51-0123456789ab"'
    first = admin("POST", "/v1/publications", idempotency_key=key)
    try:
        waited = admin("GET", first.headers["location"], prefer="wait=0").body
        assert waited["state"] == "running"
        second = admin("POST", "/v1/publications")
        assert (second.status, second.slug) == (409, "publish-running")
        assert second.body["location"] == first.headers["location"]
        again = admin("POST", "/v1/publications", idempotency_key=key)
        assert (again.status, again.body["id"]) == (202, first.body["id"])
    finally:
        may_end.set()
    assert admin("GET", first.headers["location"], prefer="wait=60").body["state"] == "done"
    assert len(admin("GET", "/v1/publications").body["publications"]) == 1


def test_why_a_publish_failed_is_told(admin, operator, monkeypatch):
    (operator.folder.keys / "keyring.json").rename(operator.folder.path / "elsewhere")
    monkeypatch.setattr(operator.keyring, "signers", lambda *_: {})
    failed = admin("POST", "/v1/publications", prefer="wait=60")
    assert (failed.status, failed.body["state"]) == (200, "failed")
    assert failed.body["problem"]["type"] == "urn:contactsync:problem:store-unavailable"
    assert "is not here" in failed.body["problem"]["detail"]

    def boom(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(operator.keyring, "signers", boom)
    failed = admin("POST", "/v1/publications", prefer="wait=60").body
    assert (failed["state"], failed["problem"]["status"]) == ("failed", 500)
    assert "secret" not in str(failed)


def test_while_another_process_publishes_it_fails_and_says_so(admin, operator, monkeypatch):
    monkeypatch.setattr("contactsync.server.publishing.publisher.LOCK_WAIT", 0)
    with operator.folder.lock():
        failed = admin("POST", "/v1/publications", prefer="wait=60").body
    assert failed["problem"]["type"] == "urn:contactsync:problem:publish-running"
