"""Labels, and members with a number and an address, over the admin API."""

import pytest
from admin_tools import member
from server_tools import AMERICAN, GERMAN

ANN = "/v1/members/mailto:ann@example.org"


def label_of(admin, path):
    return admin("GET", path).body["label"]


def test_a_label_is_set_read_and_removed(admin):
    path = member(GERMAN, "/label")
    for method, body in (("GET", None), ("PUT", {"label": "@ann"}), ("DELETE", None)):
        assert admin(method, path, *([body] if body else [])).slug == "no-such-member"
    admin("PUT", member(GERMAN))
    assert admin("GET", path).body == {"identifier": f"tel:+{GERMAN}", "label": None}
    made = admin("PUT", path, {"label": "@ännchen"})
    assert (made.status, made.body["changed"]) == (200, True)
    assert {"serial", "edition"} <= made.body.keys()
    assert admin("PUT", path, {"label": "@ännchen"}).body["changed"] is False
    assert (label_of(admin, path), label_of(admin, member(GERMAN))) == ("@ännchen", "@ännchen")
    assert admin("DELETE", path).body["changed"] is True
    assert admin("DELETE", path).body["changed"] is False
    assert label_of(admin, path) is None


@pytest.mark.parametrize("bad", ["", "x" * 65, "ä" * 33, "two\nlines", " space", "\u202e", "\ud800", 7, None])
def test_what_is_no_label_is_refused_with_its_place(admin, bad):
    admin("PUT", member(GERMAN))
    refused = admin("PUT", member(GERMAN, "/label"), {"label": bad})
    assert (refused.status, refused.slug) == (422, "not-valid")
    assert refused.body["errors"][0]["pointer"] == "/label"
    assert label_of(admin, member(GERMAN)) is None


def test_number_and_address_are_one_member(admin, operator):
    made = admin(
        "PUT", ANN + "/other", {"identifier": f"tel:+{GERMAN}", "audience": "business", "source": "x"}
    )
    assert (made.status, made.body["changed"], made.body["objected"]) == (200, True, False)
    admin("PUT", ANN + "/label", {"label": "@ann"})
    shown = admin("GET", member(GERMAN)).body
    assert (shown["other"], shown["label"], shown["audiences"]) == (
        "mailto:ann@example.org",
        "@ann",
        ["business"],
    )
    assert admin("GET", ANN).body["other"] == f"tel:+{GERMAN}"
    assert admin("DELETE", member(GERMAN)).body["changed"] is True
    assert admin("GET", ANN).slug == "no-such-member"
    assert operator.registry.count("business") == 0


def test_two_members_are_not_merged(admin):
    admin("PUT", member(GERMAN))
    admin("PUT", ANN)
    for path, other in ((member(GERMAN), "mailto:ann@example.org"), (ANN, f"tel:+{GERMAN}")):
        refused = admin("PUT", path + "/other", {"identifier": other})
        assert (refused.status, refused.slug) == (422, "not-valid")
        assert "not of one member" in refused.body["detail"]
    for other in (f"tel:+{AMERICAN}", "acct:ann", 5):
        refused = admin("PUT", member(GERMAN, "/other"), {"identifier": other})
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/identifier")
    assert admin("GET", member(GERMAN)).body["other"] is None


def test_a_member_moves_and_parts(admin):
    admin("PUT", member(GERMAN, "/other"), {"identifier": "mailto:ann@example.org"})
    admin("PUT", ANN + "/label", {"label": "@ann"})
    moved = admin("POST", member(GERMAN, "/move"), {"to": f"tel:+{AMERICAN}", "source": "desk"})
    assert (moved.status, moved.body["identifier"]) == (200, f"tel:+{AMERICAN}")
    assert admin("GET", member(GERMAN)).slug == "no-such-member"
    shown = admin("GET", member(AMERICAN)).body
    assert (shown["other"], shown["label"]) == ("mailto:ann@example.org", "@ann")
    assert admin("POST", member(GERMAN, "/move"), {"to": f"tel:+{AMERICAN}"}).slug == "no-such-member"
    admin("PUT", member(GERMAN))
    assert admin("POST", member(GERMAN, "/move"), {"to": f"tel:+{AMERICAN}"}).slug == "not-valid"
    assert admin("POST", member(GERMAN, "/move"), {"to": "mailto:bob@example.org"}).slug == "not-valid"
    assert admin("DELETE", ANN + "/other").body["changed"] is True
    assert admin("DELETE", ANN + "/other").body["changed"] is False
    admin("DELETE", ANN)
    assert admin("GET", member(AMERICAN)).body["label"] == "@ann"
