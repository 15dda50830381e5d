"""The page without a network: its service worker keeps the files of one release, and answers nothing else."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from javascript import CREDENTIAL, WEB
from server_tools import Process, ask
from visiting import DUMP, cards

from contactsync.server.page import CONTENT_SECURITY_POLICY, FILES, SHELL_FILE, page_files

PEOPLE = {"Anna": "+4915100000001", "Ben": "+4915100000002", "Nobody": "+4915900000009"}
HERE = ["Anna", "Ben"]
NEXT = (str(Path(__file__).with_name("next_release.py")),)
SHELL = (WEB / "bundle" / "page" / "shell.js").read_text()

KEPT = """(async () => {
  const found = {};
  for (const name of await caches.keys())
    found[name] = (await (await caches.open(name)).keys()).map((one) => new URL(one.url).pathname).sort();
  return found;
})()"""
REGISTERED = "navigator.serviceWorker.getRegistrations().then((all) => all.length)"
READY = "navigator.serviceWorker.ready.then(() => null)"
RELEASE = """[document.body.dataset.html ?? '', document.documentElement.dataset.program ?? '',
  getComputedStyle(document.documentElement).getPropertyValue('--release')]"""
OLD, NEW = ["", "", ""], ["next", "next", "next"]


def release():
    return json.loads(re.match(r"const RELEASE = (\{.*\});\n", SHELL)[1])


def test_it_keeps_what_the_server_serves_and_nothing_else():
    files = release()["files"]
    assert set(files) == set(FILES) - {SHELL_FILE}
    for path, (sha256, media_type) in files.items():
        assert hashlib.sha256(page_files()[path]).hexdigest() == sha256
        assert media_type == FILES[path][1]


def test_its_name_is_a_hash_of_all_files():
    value = release()
    text = json.dumps(value["files"], separators=(",", ":"))
    assert value["version"] == hashlib.sha256(text.encode()).hexdigest()


def kept_page(visit, process, tmp_path):
    """Somebody who has synced, and whose browser has the page."""
    person = visit(process.url)
    assert person.sync(cards(tmp_path / "book.vcf", PEOPLE), CREDENTIAL) == HERE
    person.evaluate(script=READY)
    person.wait("#kept:has-text('opens without a network')")
    return person


@pytest.mark.slow
def test_who_only_looks_leaves_nothing_in_the_browser(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    person.read(cards(tmp_path / "book.vcf", PEOPLE))
    assert person.evaluate(script=KEPT) == {}
    assert person.evaluate(script=REGISTERED) == 0


@pytest.mark.slow
def test_what_is_kept_has_the_octets_and_the_headers_of_the_server(unchanged, visit, tmp_path):
    person = kept_page(visit, unchanged, tmp_path)
    paths = sorted(f"/{path}".removesuffix("index.html") for path in FILES if path != SHELL_FILE)
    assert person.evaluate(script=KEPT) == {f"contactsync-shell {release()['version']}": paths}
    for path in paths:
        script = f"""caches.match('{path}').then(async (reply) => [Object.fromEntries(reply.headers),
          Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', await reply.arrayBuffer())))])"""
        headers, digest = person.evaluate(script=script)
        reply, body = ask(unchanged.port, "GET", path)
        assert bytes(digest) == hashlib.sha256(body).digest()
        served = {name.lower(): value for name, value in reply.headers.items()}
        of_a_connection = {"date", "server", "etag", "vary", "cache-control", "content-length", "connection"}
        assert headers == {name: served[name] for name in served.keys() - of_a_connection}
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY


@pytest.mark.slow
def test_without_a_network_it_opens_and_says_what_it_cannot_do(operator, with_page, visit, tmp_path):
    person = kept_page(visit, with_page, tmp_path)
    with_page.stop()
    person.reload()
    assert person.refused() == "No answer from the service"
    assert "with a network only" in person.text("#problem")
    assert "Anna" not in person.text("body")
    assert not person.visible("#result")
    assert "not known here" in person.text("#trust-who")
    assert person.text("#fingerprint") == ""
    assert person.text("#kept").startswith("Since ")
    person.read(cards(tmp_path / "book.vcf", PEOPLE))  # with a country, which needs no service
    assert person.texts("#counts dd") == ["3", "3", "0"]
    person.start(CREDENTIAL)
    assert person.refused() == "No answer from the service"
    person.click("#languages button[lang=de]")
    assert person.refused() == "Der Dienst antwortet nicht"
    assert person.axe() == []
    person.click("#languages button[lang=en]")
    with Process(operator.folder.path, "--web", "--port", str(with_page.port)):
        person.click("#problem button")
        person.wait("#result")
        assert person.texts("#matches .name bdi") == HERE
        assert person.text("#fingerprint") != ""


@pytest.mark.slow
def test_no_request_of_the_api_is_answered_by_it(unchanged, visit, tmp_path):
    person = kept_page(visit, unchanged, tmp_path)
    person.reload()
    assert person.evaluate(script="Boolean(navigator.serviceWorker.controller)")
    person.sync(cards(tmp_path / "book.vcf", {**PEOPLE, "New": "+4915100000005"}), CREDENTIAL)
    by_worker = person.answered()
    assert {one.removeprefix(unchanged.url) for one in by_worker["kept"]} >= {"/", "/page/page.js"}
    asked = {one.removeprefix(unchanged.url) for one in by_worker["network"]}
    assert {"/page/service.json", "/v1/tuf/metadata/timestamp.json", "/v1/evaluate/people/1"} <= asked
    assert not any("/v1/" in one or one.endswith(("service.json", "shell.js")) for one in by_worker["kept"])


@pytest.mark.slow
def test_a_new_release_replaces_it_whole_when_the_person_says_so(operator, with_page, visit, tmp_path):
    person = kept_page(visit, with_page, tmp_path)
    person.reload()
    with_page.stop()
    again = (operator.folder.path, "--web", "--port", str(with_page.port))
    with Process(*again, program=NEXT):
        person.reload()
        assert person.evaluate(script=RELEASE) == OLD
        person.wait("#update")
        assert "new version" in person.text("#update")
        assert person.axe() == []
        assert len(person.evaluate(script=KEPT)) == 2
        assert person.sync(cards(tmp_path / "book.vcf", PEOPLE), CREDENTIAL) == HERE  # it goes on as before
        person.click("#update-now")
        person.wait("html[data-ready][data-program=next]")
        assert person.evaluate(script=RELEASE) == NEW
        assert not person.visible("#update")
        assert list(person.evaluate(script=KEPT)) == [f"contactsync-shell {'0' * 64}"]
        assert person.sync(cards(tmp_path / "book.vcf", PEOPLE), CREDENTIAL) == HERE


@pytest.mark.slow
def test_two_tabs_are_never_of_two_releases(operator, with_page, visit, tmp_path):
    person = kept_page(visit, with_page, tmp_path)
    person.reload()
    first, second = person.tab, person.open()
    with_page.stop()
    with Process(operator.folder.path, "--web", "--port", str(with_page.port), program=NEXT):
        person.reload()
        person.wait("#update")
        person.click("#update-now")
        person.wait("#update-why:has-text('another tab')")
        assert person.evaluate(script=RELEASE) == OLD
        person.tab = first
        person.wait("#update")
        person.reload()
        assert person.evaluate(script=RELEASE) == OLD
        person.leave_tab()
        person.tab = second
        person.click("#update-now")
        person.wait("html[data-ready][data-program=next]")
        assert person.evaluate(script=RELEASE) == NEW


@pytest.mark.slow
def test_when_all_tabs_were_closed_the_new_release_is_there(operator, with_page, visit, tmp_path):
    person = kept_page(visit, with_page, tmp_path)
    person.reload()
    with_page.stop()
    with Process(operator.folder.path, "--web", "--port", str(with_page.port), program=NEXT):
        person.reload()
        person.wait("#update")
        person.leave_tab()
        person.open()
        assert person.evaluate(script=RELEASE) == NEW


@pytest.mark.slow
def test_a_release_that_is_not_whole_is_not_taken(operator, with_page, visit, tmp_path):
    person = kept_page(visit, with_page, tmp_path)
    person.reload()
    with_page.stop()
    with Process(operator.folder.path, "--web", "--port", str(with_page.port), "--torn", program=NEXT):
        person.reload()
        refused = """navigator.serviceWorker.getRegistration().then(async (one) => {
          const gone = new Promise((done) => one.addEventListener('updatefound', () =>
            one.installing.addEventListener('statechange', ({ target }) => done(target.state))));
          await one.update().catch(() => {});
          return gone;
        })"""
        assert person.evaluate(script=refused) == "redundant"
        assert not person.visible("#update")
        assert list(person.evaluate(script=KEPT)) == [f"contactsync-shell {release()['version']}"]
        person.reload()
        assert person.evaluate(script=RELEASE) == OLD


@pytest.mark.slow
def test_forgetting_removes_it_and_a_later_sync_brings_it_back(operator, with_page, visit, tmp_path):
    person = kept_page(visit, with_page, tmp_path)
    person.reload()
    first = person.tab
    person.open()
    with_page.stop()
    person.reload()  # forgetting needs no network
    person.click("#forget")
    person.click("#sure-yes")
    person.wait("#kept:has-text('Forgotten')")
    assert person.evaluate(script=KEPT) == {}
    assert person.evaluate(script=DUMP) == []
    assert person.evaluate(script=REGISTERED) == 0
    with Process(operator.folder.path, "--web", "--port", str(with_page.port)):
        person.tab = first  # which had it open
        person.reload()
        assert "Nothing of this service" in person.text("#kept")
        assert person.evaluate(script=KEPT) == {}
        assert person.sync(cards(tmp_path / "book.vcf", PEOPLE), CREDENTIAL) == HERE
        person.wait("#kept:has-text('opens without a network')")
        person.reload()
        assert list(person.evaluate(script=KEPT)) == [f"contactsync-shell {release()['version']}"]
    person.reload()
    assert person.refused() == "No answer from the service"


@pytest.mark.slow
def test_a_page_that_the_operator_turned_off_sends_nothing(operator, with_page, visit, tmp_path):
    person = kept_page(visit, with_page, tmp_path)
    with_page.stop()
    with Process(operator.folder.path, "--port", str(with_page.port)):
        person.reload()
        assert person.refused() == "This page is not set up"
        asked = len(person.seen()["requests"])
        person.read(cards(tmp_path / "book.vcf", PEOPLE))
        person.start(CREDENTIAL)
        assert person.refused() == "This page is not set up"
        assert [one for one in person.seen()["requests"][asked:] if "/v1/" in one] == []


@pytest.mark.slow
def test_a_browser_without_service_workers_is_served_as_before(unchanged, visit, tmp_path):
    person = visit("about:blank", ready=False, fakes={"noServiceWorker": True})
    person.reload(unchanged.url)
    book = cards(tmp_path / "book.vcf", PEOPLE)
    assert person.sync(book, CREDENTIAL) == HERE
    assert person.evaluate(script=KEPT) == {}
    assert "without a network" not in person.text("#kept")
    person.click("#forget")
    person.click("#sure-yes")
    person.wait("#kept:has-text('Forgotten')")
