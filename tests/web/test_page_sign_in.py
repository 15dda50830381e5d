"""A link with a one-time code brings a person in: no access code is typed, and none stays in the address."""

import pytest
from javascript import CREDENTIAL
from server_tools import run
from visiting import cards

from contactsync.library.accounts import Accounts

pytestmark = pytest.mark.slow
ANNA, BEN = "+4915100000001", "+4915100000002"


def follow(person, link):
    """Open a link as a click elsewhere would: in an empty tab."""
    person.browser.call("go", tab=person.tab, url=link)


@pytest.fixture
def code(operator):
    return Accounts(operator.folder).sign_in("javascript", lasts=600)


def test_a_link_signs_in_once(operator, with_page, visit, tmp_path, code):
    book = cards(tmp_path / "book.vcf", {"Anna": ANNA, "Ben": BEN})
    person = visit(with_page.url, ready=False)
    follow(person, f"{with_page.url}/#code={code}")
    assert person.evaluate(script="location.href") == f"{with_page.url}/"
    assert person.evaluate(script="history.length") <= 2
    assert not any(code in one for one in person.seen()["requests"])
    assert person.texts("#left-list code") == ["POST /v1/sign-in"]
    assert "scrambled points" not in person.text("#left-sum")
    person.read(book)
    assert person.text("#signed-in").startswith("You are signed in, until ")
    assert not person.visible("#credential")
    person.start(None)
    person.wait("#matches .name")
    assert person.texts("#matches .name bdi") == ["Anna", "Ben"]
    credential = person.evaluate(script="document.getElementById('credential').value")
    assert operator.accounts.find(credential).until is not None

    late = visit(with_page.url, ready=False)
    follow(late, f"{with_page.url}/#code={code}")
    assert late.refused() == "The link that brought you here was used, or is too old"
    late.read(book)
    assert late.visible("#credential"), "who has an access code can go on"
    late.start(CREDENTIAL)
    late.wait("#result")


def test_a_link_that_is_followed_into_an_open_tab(with_page, visit, code):
    person = visit(with_page.url)
    person.evaluate(script=f"location.hash = '#code={code}'")
    person.wait("#left-list .signIn")
    assert person.evaluate(script="location.hash") == ""


def test_access_that_has_ended_gives_way_to_a_code(operator, with_page, visit, tmp_path, code):
    book = cards(tmp_path / "book.vcf", {"Anna": ANNA})
    person = visit(with_page.url, ready=False)
    follow(person, f"{with_page.url}/#code={code}")
    person.read(book)
    run("accounts", "revoke", "javascript", data=operator.folder.path)
    operator.accounts.add("another", "people", "cs_another")
    person.start(None)
    assert person.refused() == "The access code is not accepted"
    assert person.text("#fresh") == "Nothing about your contacts has been sent so far"
    person.start("cs_another")
    person.wait("#result")
    assert person.texts("#matches .name bdi") == ["Anna"]
    assert person.texts("#left-list code")[0] == "POST /v1/sign-in"  # nothing is taken off the list


def test_a_link_for_another_audience_is_refused(operator, with_page, visit):
    operator.accounts.add("shop", "business", "cs_shop")
    person = visit(with_page.url, ready=False)
    follow(person, f"{with_page.url}/#code={Accounts(operator.folder).sign_in('shop', lasts=600)}")
    assert person.refused() == "This access code is for something else"


@pytest.mark.parametrize("fragment", ["#code=", "#code=<b>x</b>", "#code=" + "x" * 200, "#other"])
def test_any_other_fragment_is_none(unchanged, visit, fragment):
    person = visit(unchanged.url, ready=False)
    follow(person, f"{unchanged.url}/{fragment}")
    assert person.texts("#left-list code") == []
    assert not person.visible("#problem")


def test_in_german(with_page, visit, code):
    person = visit(with_page.url, ready=False, locale="de-DE")
    follow(person, f"{with_page.url}/#code={code}x")
    assert person.refused().startswith("Der Link, der dich hierher gebracht hat")


def test_libsodium_may_run_on_the_page(unchanged, visit, tmp_path):
    book = cards(tmp_path / "book.vcf", {"Anna": ANNA})
    person = visit(unchanged.url)
    empty = "WebAssembly.instantiate(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)).then(() => 'runs')"
    assert person.evaluate(script=empty) == "runs"
    assert person.sync(book, CREDENTIAL) == ["Anna"]
    assert any(one.endswith("/page/contactsync-sodium.mjs") for one in person.seen()["requests"])
