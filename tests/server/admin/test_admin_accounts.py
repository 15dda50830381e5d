"""Accounts over the admin API."""

import pytest
from admin_tools import account


def add(admin, *names, **terms):
    return admin("POST", "/v1/accounts", {"accounts": [{"name": name, **terms} for name in names]})


def test_accounts_are_added_with_their_credentials(admin, operator):
    made = add(admin, "shop", "a/b ü", audience="business", burst=100)
    assert made.status == 201
    for one in made.body["accounts"]:
        found = operator.accounts.find(one["credential"])
        assert (found.name, found.audience, found.terms.burst) == (one["name"], "business", 100)
    shown = admin("GET", account("a/b ü"))
    assert (shown.status, shown.body["burst"], shown.body["left"]) == (200, 100, 100)
    assert "credential" not in shown.body


def test_of_several_accounts_all_are_added_or_none(admin, operator):
    add(admin, "shop")
    taken = add(admin, "new", "shop")
    assert (taken.status, taken.slug) == (409, "account-exists")
    assert [one.name for one in operator.accounts.list()] == ["shop"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accounts", "pointer"),
    [
        ([], "/accounts"),
        ("shop", "/accounts"),
        ([{}], "/accounts/0/name"),
        ([{"name": "a"}, 7], "/accounts/1"),
        ([{"name": "a"}, {"name": "a"}], "/accounts"),
        ([{"name": ""}], "/accounts/0/name"),
        ([{"name": "\n"}], "/accounts/0/name"),
        ([{"name": "x" * 101}], "/accounts/0/name"),
        ([{"name": "a", "burst": 0}], "/accounts/0/burst"),
        ([{"name": "a", "per_day": True}], "/accounts/0/per_day"),
        ([{"name": "a", "class": "gold"}], "/accounts/0/class"),
        ([{"name": "a", "audience": "all"}], "/accounts/0/audience"),
        ([{"name": "a", "credential": "cs_mine"}], "/accounts/0"),
        ([{"name": f"a{n}"} for n in range(1001)], "/accounts"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_place(admin, operator, accounts, pointer):
    refused = admin("POST", "/v1/accounts", {"accounts": accounts})
    assert (refused.status, refused.slug) == (422, "not-valid")
    assert refused.body["errors"][0]["pointer"] == pointer
    assert operator.accounts.list() == []


def test_a_quota_is_changed_in_parts(admin):
    add(admin, "shop", burst=100, per_day=10)
    changed = admin("PATCH", account("shop"), {"burst": 200})
    assert (changed.body["burst"], changed.body["per_day"]) == (200, 10)
    followed = admin("PATCH", account("shop"), {"burst": None, "class": "default"})
    assert (followed.body["burst"], followed.body["class"]) == (16_384, "default")
    assert admin("PATCH", account("shop"), {"class": None, "refill": True}).body["class"] == ""
    assert admin("PATCH", account("shop"), {"class": "gold"}).slug == "not-valid"
    assert admin("PATCH", account("shop"), {}).slug == "not-valid"
    assert admin("PATCH", account("none"), {"burst": 1}).slug == "no-such-account"


def test_a_credential_is_rotated_and_an_account_revoked(admin, operator):
    old = add(admin, "shop").body["accounts"][0]["credential"]
    made = admin("POST", account("shop", "/credential"), {"overlap": 0})
    assert made.status == 201
    assert operator.accounts.find(made.body["credential"]).name == "shop"
    assert operator.accounts.find(old) is None
    kept = admin("POST", account("shop", "/credential"))
    assert operator.accounts.find(made.body["credential"]).until is not None
    assert admin("POST", account("shop", "/credential"), {"overlap": -1}).slug == "not-valid"
    assert admin("POST", account("none", "/credential")).slug == "no-such-account"
    assert (admin("DELETE", account("shop")).status, admin("DELETE", account("shop")).status) == (204, 404)
    assert operator.accounts.find(kept.body["credential"]) is None


@pytest.mark.slow
def test_accounts_are_listed_in_pages(admin):
    names = [f"account-{n:04}" for n in range(1500)]
    add(admin, *names[:1000])
    add(admin, *names[1000:])
    first = admin("GET", "/v1/accounts").body
    rest = admin("GET", f"/v1/accounts?after={first['next']}").body
    assert [one["name"] for one in first["accounts"] + rest["accounts"]] == names
    assert "next" not in rest


def test_a_back_end_gets_a_code_for_a_page(admin, operator):
    add(admin, "shop")
    given = admin("POST", account("shop") + "/sign-in")
    assert given.status == 201
    found = operator.accounts.redeem(given.body["code"], "cs_page", 1000)
    assert (found.name, given.body["name"]) == ("shop", "shop")
    short = admin("POST", account("shop") + "/sign-in", {"code_seconds": 10, "credential_seconds": 60})
    assert short.body["code"].endswith(".60")
    nobody = admin("POST", account("none") + "/sign-in")
    assert (nobody.status, nobody.slug) == (404, "no-such-account")


@pytest.mark.parametrize("times", [{"code_seconds": 3601}, {"credential_seconds": 9}, {"seconds": 60}])
def test_a_code_that_lasts_too_long_or_too_short_is_refused(admin, times):
    add(admin, "shop")
    refused = admin("POST", account("shop") + "/sign-in", times)
    assert (refused.status, refused.slug) == (422, "not-valid")
