"""The page in Firefox: syncs, what is kept, its policy, and no network. All else is tested in Chromium."""

import pytest
from firefox import OWN, Firefox, require
from javascript import CREDENTIAL
from server_tools import Process
from visiting import DUMP, Visitor, cards, judged

pytestmark = pytest.mark.slow
PEOPLE = {"Anna": "+4915100000001", "Ben": "0151 00000002", "Nobody": "+4915900000009"}
HERE = ["Anna", "Ben"]
KEPT = "caches.keys().then((names) => names.length)"
CONTROLLED = "Boolean(navigator.serviceWorker.controller)"


@pytest.fixture(scope="session")
def firefox():
    require()
    firefox = Firefox()
    yield firefox
    firefox.close()


@pytest.fixture
def visit(firefox):
    yield from judged(firefox)


@pytest.fixture
def book(tmp_path):
    return cards(tmp_path / "book.vcf", PEOPLE)


def test_first_sync_then_one_without_news(unchanged, visit, book):
    person = visit(unchanged.url)
    assert person.sync(book, CREDENTIAL) == HERE
    assert person.text("#left-sum").startswith("8 scrambled points, 256 bytes, in ")
    kept = dict(person.evaluate(script=DUMP))
    assert "tel:+4915100000001" in kept["audience-people.json"]
    person.reload()
    assert person.text("#kept").startswith("Since ")
    listed = len(person.texts("#left-list code"))
    assert listed == 0
    assert person.sync(book, CREDENTIAL) == HERE
    again = person.texts("#left-list code")
    assert not any("/data/" in one or "/targets/" in one for one in again)
    assert again[-1] == "POST /v1/evaluate/people/1"


def test_the_policy_holds(unchanged, visit):
    person = visit(unchanged.url)
    attempts = """['script', 'attribute'].map((kind) => {
      const made = document.createElement(kind === 'script' ? 'script' : 'button');
      try {
        if (kind === 'script') made.textContent = 'globalThis.ran = true';
        else made.setAttribute('onclick', 'globalThis.ran = true');
      } catch {
        return 'refused'; // by Trusted Types
      }
      document.body.append(made);
      made.click();
      made.remove();
      return globalThis.ran ? 'ran' : 'blocked'; // by the policy
    })"""
    assert "ran" not in person.evaluate(script=attempts)
    elsewhere = "fetch('http://127.0.0.1:9/').then(() => 'answered', (error) => error.name)"
    assert person.evaluate(script=elsewhere) == "TypeError"
    said = person.evaluate(script="globalThis.__violations.splice(0).map((one) => one.split(' ')[0])")
    assert "connect-src" in said


def test_an_error_of_the_page_would_be_seen(unchanged, firefox):
    """Of the text, too, that Firefox has for itself."""
    person = Visitor(firefox, unchanged.url)
    thrown = """setTimeout(() => { throw new Error('mine'); });
      setTimeout(() => { throw new Error('Permission denied to access property "length"'); })"""
    person.evaluate(script=f"new Promise((done) => {{ {thrown}; setTimeout(done, 100); }})")
    seen = [line for line in person.seen()["console"] if line.startswith("uncaught")]
    person.close()
    assert seen == ["uncaught: Error: mine", f"uncaught: {OWN}"]


def test_all_is_forgotten(unchanged, visit, book):
    person = visit(unchanged.url)
    assert person.sync(book, CREDENTIAL) == HERE
    person.wait("#kept", text="opens without a network")
    person.click("#forget")
    person.click("#sure-yes")
    person.wait("#kept", text="Forgotten")
    assert person.evaluate(script=DUMP) == []
    assert person.evaluate(script=KEPT) == 0
    assert "Anna" not in person.text("body")
    person.reload()
    assert "Nothing of this service" in person.text("#kept")


def test_without_a_network_it_opens_and_says_what_it_cannot_do(operator, with_page, visit, book):
    person = visit(with_page.url)
    assert person.sync(book, CREDENTIAL) == HERE
    person.wait("#kept", text="opens without a network")
    with_page.stop()
    person.reload()
    assert person.evaluate(script=CONTROLLED)
    assert person.refused() == "No answer from the service"
    assert "Anna" not in person.text("body")
    person.read(book)
    assert person.texts("#counts dd") == ["3", "3", "0"]
    with Process(operator.folder.path, "--web", "--port", str(with_page.port)):
        person.start(CREDENTIAL)
        person.wait("#result")
        assert person.texts("#matches .name bdi") == HERE
