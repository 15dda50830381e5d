"""Members over the admin API: one, batches, consent, and the edition that will have a change."""

import pytest
from admin_tools import account, member
from server_tools import AMERICAN, GERMAN

NOT_PUBLISHED = {"people": {"epoch": 1, "edition": 1}, "business": {"epoch": 1, "edition": 1}}


def test_a_member_is_put_shown_and_deleted(admin, operator):
    made = admin("PUT", member(GERMAN))
    assert made.status == 201
    assert made.body == {
        "identifier": f"tel:+{GERMAN}",
        "changed": True,
        "objected": False,
        "serial": 1,
        "edition": NOT_PUBLISHED,
    }
    again = admin("PUT", member(GERMAN))
    assert (again.status, again.body["changed"]) == (200, False)
    assert operator.registry.count("people") == 1
    shown = admin("GET", member(GERMAN))
    assert shown.status == 200
    assert shown.body["audiences"] == ["people"]
    (published,) = shown.body["published"]
    assert (published["audience"], published["state"]) == ("people", "to be listed")
    gone = admin("DELETE", member(GERMAN))
    assert (gone.status, gone.body["changed"]) == (200, True)
    assert admin("DELETE", member(GERMAN)).body["changed"] is False
    assert admin("GET", member(GERMAN)).slug == "no-such-member"
    assert operator.registry.count("people") == 0


def test_an_identifier_is_normalised_and_a_wrong_one_is_refused_without_being_repeated(admin, operator):
    assert admin("PUT", "/v1/members/tel:+49%20(0)151%2000000000").body["identifier"] == f"tel:+{GERMAN}"
    for bad in ("tel:+49", "tel:0151234567", "acct:me", "%00", "tel:+49151x", "tel:+%F0%9F%92%A9"):
        refused = admin("PUT", f"/v1/members/{bad}")
        assert (refused.status, refused.slug) == (422, "identifier-refused")
        assert bad not in str(refused.body)
    assert operator.registry.count("people") == 1


def test_what_a_request_says_of_a_member_is_kept(admin):
    body = {"audience": "business", "verified": "2024-02-29", "source": "app 3.1", "by": "Ann"}
    assert admin("PUT", member(GERMAN), body).status == 201
    shown = admin("GET", member(GERMAN)).body
    assert (shown["audiences"], shown["verified"]) == (["business"], "2024-02-29")
    (consent,) = shown["consents"]
    assert consent.items() >= {"granted": True, "source": "app 3.1", "by": "Ann"}.items()
    assert admin("DELETE", member(GERMAN, "?audience=people")).body["changed"] is False
    assert admin("DELETE", member(GERMAN, "?audience=business")).body["changed"] is True


def test_who_objected_stays_out_until_they_opt_in(admin, operator):
    admin("PUT", member(GERMAN))
    consent = member(GERMAN, "/consents/people")
    left = admin("PUT", consent, {"granted": False, "source": "app"})
    assert (left.status, left.body["changed"], operator.registry.count("people")) == (200, True, 0)
    for _ in range(2):
        refused = admin("PUT", member(GERMAN))
        assert (refused.status, refused.body["changed"], refused.body["objected"]) == (200, False, True)
    assert admin("PUT", consent, {"granted": True, "source": "app"}).body["changed"] is True
    assert operator.registry.count("people") == 1
    history = admin("GET", member(GERMAN)).body["consents"]
    assert [one["granted"] for one in history if one["audience"] == "people"] == [False, True]
    unknown = admin("PUT", member(AMERICAN, "/consents/business"), {"granted": True, "source": "app"})
    assert (unknown.status, unknown.slug) == (404, "no-such-member")
    assert admin("PUT", member(GERMAN, "/consents/all"), {"granted": True, "source": "a"}).status == 404


def test_changes_of_consent_at_the_same_time_are_all_kept(admin):
    """Those of a group are on the disk together, and each has its own serial."""
    admin("PUT", member(GERMAN))
    path = member(GERMAN, "/consents/business")
    asked = [("PUT", path, {"granted": n % 2 == 0, "source": f"app {n}"}) for n in range(8)]
    serials = [reply.body["serial"] for reply in admin.together(*asked)]
    assert len(set(serials)) <= 8
    history = admin("GET", member(GERMAN)).body["consents"]
    assert [one["source"] for one in history] == [f"app {n}" for n in range(8)]


def test_a_group_tells_each_what_became_of_theirs(admin, operator):
    """Many that are made as one statement, although some were there, some objected, and some stand twice."""
    admin("PUT", member(GERMAN + 1))
    admin("PUT", member(GERMAN + 2, "/consents/people"), {"granted": False, "source": "app"})
    asked = [*range(GERMAN, GERMAN + 5), GERMAN, AMERICAN]
    replies = admin.together(*(("PUT", member(number)) for number in asked))
    assert [reply.body["changed"] for reply in replies] == [True, False, False, True, True, False, True]
    assert [reply.body["objected"] for reply in replies] == [False, False, True, *[False] * 4]
    assert operator.registry.count("people") == 5
    mixed = admin.together(
        ("DELETE", member(GERMAN)), ("PUT", member(GERMAN)), ("DELETE", member(GERMAN)), ("PUT", member("49"))
    )
    assert [reply.status for reply in mixed] == [200, 201, 200, 422]
    assert operator.registry.count("people") == 4


def test_a_batch_puts_and_deletes(admin, operator):
    admin("PUT", member(GERMAN))
    put = [f"tel:+{GERMAN + n}" for n in range(5)] + [f"tel:+{AMERICAN}", f"tel:+{AMERICAN}"]
    done = admin("POST", "/v1/members/batch", {"put": put[1:], "delete": [put[0], "tel:+4915199999999"]})
    assert done.status == 200
    assert {name: done.body[name] for name in ("added", "known", "objected", "deleted", "absent")} == {
        "added": 5,
        "known": 0,
        "objected": 0,
        "deleted": 1,
        "absent": 1,
    }
    assert operator.registry.count("people") == 5


def test_a_batch_is_all_or_none_unless_it_says_otherwise(admin, operator):
    body = {"put": [f"tel:+{GERMAN}", "tel:+49", "7", f"tel:+{AMERICAN}"], "delete": ["nobody"]}
    refused = admin("POST", "/v1/members/batch", body)
    assert (refused.status, refused.slug) == (422, "identifier-refused")
    assert [(one["pointer"], one["index"]) for one in refused.body["errors"]] == [
        ("/put/1", 1),
        ("/put/2", 2),
        ("/delete/0", 0),
    ]
    assert all(one["detail"] for one in refused.body["errors"])
    assert operator.registry.count("people") == 0
    done = admin("POST", "/v1/members/batch", body | {"partial": True})
    assert (done.status, done.body["added"], done.body["refused"]) == (200, 2, 3)
    assert [one["pointer"] for one in done.body["errors"]] == ["/put/1", "/put/2", "/delete/0"]
    assert operator.registry.count("people") == 2


def test_ten_thousand_fit_in_a_batch_and_no_more(admin, operator):
    put = [f"tel:+{GERMAN + n}" for n in range(10_001)]
    assert admin("POST", "/v1/members/batch", {"put": put}).slug == "not-valid"
    assert admin("POST", "/v1/members/batch", {"put": put[1:], "delete": put[:1]}).slug == "not-valid"
    assert admin("POST", "/v1/members/batch", {"put": put[1:]}).body["added"] == 10_000
    assert operator.registry.count("people") == 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, ""),
        ({"puts": []}, ""),
        ({"put": "tel:+4915112345678"}, "/put"),
        ({"put": [], "delete": None}, "/delete"),
        ({"put": ["tel:+4915112345678"], "audience": "all"}, "/audience"),
        ({"put": ["tel:+4915112345678"], "partial": 1}, "/partial"),
        ({"put": ["tel:+4915112345678", 7], "partial": True}, "/put/1"),
        ({"put": ["tel:+4915112345678"], "verified": "2025-02-30"}, "/verified"),
        ({"put": ["tel:+4915112345678"], "verified": "yesterday"}, "/verified"),
        ({"put": ["tel:+4915112345678"], "source": "\n"}, "/source"),
        ({"put": ["tel:+4915112345678"], "source": "x" * 201}, "/source"),
    ],
)
def test_a_body_of_another_form_is_refused_with_the_place(admin, operator, body, pointer):
    refused = admin("POST", "/v1/members/batch", body)
    assert (refused.status, refused.slug) == (422, "not-valid")
    assert refused.body["errors"][0]["pointer"] == pointer
    assert operator.registry.count("people") == 0


def test_a_member_on_both_sides_of_a_batch_and_a_day_to_come_are_refused(admin, operator):
    both = {"put": [f"tel:+{GERMAN}"], "delete": [f"tel:+{GERMAN}"], "partial": True}
    assert admin("POST", "/v1/members/batch", both).slug == "not-valid"
    future = {"put": [f"tel:+{GERMAN}"], "verified": "2999-01-01"}
    assert admin("POST", "/v1/members/batch", future).slug == "not-valid"
    assert operator.registry.count("people") == 0


def test_the_edition_that_is_named_is_the_first_without_a_removed_member(admin, operator):
    admin("POST", "/v1/members/batch", {"put": [f"tel:+{GERMAN + n}" for n in range(3)]})
    assert admin("POST", "/v1/publications", prefer="wait=60").body["state"] == "done"
    gone = admin("DELETE", member(GERMAN))
    named = gone.body["edition"]["people"]
    assert named == {"epoch": 1, "edition": 2}
    assert operator.manifest().count == 3
    published = admin("POST", "/v1/publications", prefer="wait=60").body
    assert published["serial"] >= gone.body["serial"]
    manifest = operator.manifest()
    assert (manifest.epoch, manifest.edition, manifest.count) == (named["epoch"], named["edition"], 2)
    assert admin("PUT", member(GERMAN + 1)).body["edition"]["people"] == {"epoch": 1, "edition": 3}


def test_while_a_publish_may_have_begun_before_a_change_a_later_edition_is_named(admin, operator):
    with operator.folder.lock():  # as another process holds it while it publishes
        assert admin("PUT", member(GERMAN)).body["edition"]["people"] == {"epoch": 1, "edition": 2}
    assert admin("PUT", member(GERMAN)).body["edition"]["people"] == {"epoch": 1, "edition": 1}


def test_what_is_published_is_told_of_a_member(admin):
    admin("PUT", member(GERMAN))
    admin("POST", "/v1/publications", prefer="wait=60")
    shown = admin("GET", member(GERMAN)).body
    (published,) = shown["published"]
    assert (published["state"], published["epoch"], published["edition"]) == ("listed", 1, 1)
    assert [(one["audience"], one["epoch"]) for one in shown["tokens"]] == [("people", 1)]


def test_status_and_what_is_not_there(admin):
    admin("PUT", member(GERMAN))
    status = admin("GET", "/v1/status").body
    assert (status["pending"], status["audiences"][0]["members"]) == (True, 1)
    for path in (
        "/",
        "/v1",
        "/v1/members",
        "/v2/status",
        "/v1/status/",
        member(GERMAN, "/consents"),
        "/v1//",
    ):
        assert admin("GET", path).slug == "not-found"
    wrong = admin("POST", member(GERMAN))
    assert (wrong.slug, wrong.headers["allow"]) == ("method-not-allowed", "GET, PUT, DELETE")
    assert admin("GET", "/v1/status?x=1").slug == "not-valid"
    assert admin("DELETE", member(GERMAN, "?audience=people&audience=business")).slug == "not-valid"
    assert admin("DELETE", member(GERMAN, "?audience=all")).slug == "not-valid"
    assert admin("GET", account("nobody")).slug == "no-such-account"


@pytest.mark.parametrize("data", [b"{", b"\xff", b'{"put": ' + b"[" * 100_000, b"nothing"])
def test_a_body_that_is_not_json_is_refused(admin, data):
    assert admin("POST", "/v1/members/batch", data).slug == "bad-request"


def test_a_body_of_another_media_type_or_size_is_refused(admin):
    plain = {"content-type": "text/plain"}
    assert admin("POST", "/v1/members/batch", b"{}", **plain).slug == "wrong-media-type"
    assert admin("POST", "/v1/members/batch", b" " * (1 << 20) + b"{}").slug == "body-too-large"
