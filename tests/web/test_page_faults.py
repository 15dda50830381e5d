"""What the page says when something is wrong, and that it goes on once that is mended."""

import json
import re

import pytest
from javascript import CREDENTIAL
from server_tools import GERMAN, Operator, Process
from visiting import cards

pytestmark = pytest.mark.slow
ANNA, BEN, NEW = "+4915100000001", "+4915100000002", "+4915100000077"
PEOPLE = {"Anna": ANNA, "Ben": BEN, "Nobody": "+4915900000009"}
HERE = ["Anna", "Ben"]


@pytest.fixture
def book(tmp_path):
    return cards(tmp_path / "book.vcf", PEOPLE)


def retry(person):
    person.click("#problem button")
    person.wait("#result")
    assert not person.visible("#problem")
    return person.texts("#matches .name bdi")


def test_a_code_that_is_refused(unchanged, visit, book):
    person = visit(unchanged.url)
    person.read(book)
    person.start("cs_wrong")
    assert person.refused() == "The access code is not accepted"
    assert person.visible("#check")
    assert person.text("#fresh") == "Nothing about your contacts has been sent so far"
    assert person.evaluate(script="document.activeElement.parentElement.id") == "problem"
    assert "cs_wrong" not in person.text("#problem")
    assert person.posts() == 0
    person.fill("#credential", text=CREDENTIAL)
    assert retry(person) == HERE
    person.again()
    person.read(book)
    assert not person.visible("#fresh")


def test_a_tampered_file_is_not_used_and_no_point_is_sent(operator, with_page, visit, book):
    path = operator.folder.data / operator.manifest().partitions["49"].base.sha256
    good = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
    person = visit(with_page.url)
    person.read(book)
    person.start(CREDENTIAL)
    assert person.refused() == "A file of the directory was changed on its way"
    assert "bad-hash" in person.evaluate(script="document.querySelector('#problem code').textContent")
    assert person.posts() == 0
    path.write_bytes(good)
    assert retry(person) == HERE


def test_a_root_that_did_not_sign_is_noticed_on_the_first_visit(tmp_path, unchanged, visit, book):
    other = Operator(tmp_path / "other")
    other.close()
    root = (other.folder.public / "metadata" / "1.root.json").read_text()
    service = {"format": "contactsync-service-1", "name": "", "label_link": "", "url": "", "root": root}
    person = visit("about:blank", ready=False)
    person.meddle("/page/service.json", text=json.dumps(service))
    person.reload(unchanged.url)
    person.read(book)
    person.start(CREDENTIAL)
    assert person.refused() == "The service’s signatures are not valid"
    assert person.posts() == 0
    assert not any(one.endswith("/v1/account") for one in person.seen()["requests"])  # nor the code


def test_another_root_than_the_last_time_is_said_and_nothing_is_sent(
    tmp_path, operator, with_page, visit, book
):
    person = visit(with_page.url)
    assert person.sync(book, CREDENTIAL) == HERE
    before = person.text("#fingerprint")
    with_page.stop()
    other = Operator(tmp_path / "other")
    other.accounts.add("javascript", "people", CREDENTIAL)
    other.add(GERMAN)
    other.publish()
    with Process(other.folder.path, "--web", "--port", str(with_page.port)):
        person.reload()
        assert person.refused() == "This page has another key than the last time"
        assert person.text("#fingerprint") != before
        person.go(url=f"{with_page.url}/?again#code=csc_abc.43200")  # its code is shown to nobody
        assert person.refused() == "This page has another key than the last time"
        assert person.posts() == 1  # the sync before
        asked = len(person.seen()["requests"])
        person.read(book)
        person.start(CREDENTIAL)
        assert person.refused() == "This page has another key than the last time"
        assert len(person.seen()["requests"]) == asked
        person.click("#forget")
        person.click("#sure-yes")
        person.wait("#kept:has-text('Forgotten')")
        person.start(CREDENTIAL)
        person.wait("#result")
        assert person.text("#result-title") == "None of your contacts is here yet"
    other.close()


@pytest.mark.parametrize("setting", ['{"format": 2}', "[]", "no JSON"])
def test_a_page_that_is_not_set_up_says_so(unchanged, visit, setting):
    person = visit("about:blank", ready=False)
    person.meddle("/page/service.json", text=setting)
    person.reload(unchanged.url)
    assert person.refused() == "This page is not set up"


def test_no_network_then_one_again(unchanged, visit, book):
    person = visit(unchanged.url)
    person.read(book)
    person.offline(True)
    person.start(CREDENTIAL)
    assert person.refused() == "No answer from the service"
    person.offline(False)
    assert retry(person) == HERE


def test_a_connection_that_is_cut_after_the_points_were_sent(unchanged, visit, book):
    person = visit(unchanged.url)
    person.read(book)
    person.meddle("/v1/evaluate/")
    person.start(CREDENTIAL)
    assert person.refused() == "No answer from the service"
    person.behave()
    assert retry(person) == HERE


def test_a_download_that_is_cut_is_begun_again(unchanged, visit, book):
    person = visit(unchanged.url)
    person.read(book)
    person.meddle("/v1/data/")
    person.start(CREDENTIAL)
    assert person.refused() == "No answer from the service"
    assert person.posts() == 0
    assert person.text("#fresh") == "Nothing about your contacts has been sent so far"
    person.behave()
    assert retry(person) == HERE


def test_an_epoch_that_begins_while_a_sync_runs(operator, with_page, visit, book):
    person = visit(with_page.url)
    person.meddle("/v1/evaluate/", hold=True)
    person.read(book)
    person.start(CREDENTIAL)
    person.wait("#left-list li.evaluate")
    operator.add(int(NEW))
    operator.publish(new_epoch=True)
    person.behave()
    person.wait("#result")
    assert person.texts("#matches .name bdi") == HERE
    epochs = [one.rpartition("/")[2] for one in person.texts("#left-list li.evaluate code")]
    assert epochs == ["1", "2"]
    person.again()
    newcomer = cards(book.with_name("more.vcf"), {**PEOPLE, "Newcomer": NEW})
    assert person.sync(newcomer, None) == ["Anna", "Ben", "Newcomer"]


def test_a_server_that_is_restarted(operator, with_page, visit, book):
    person = visit(with_page.url)
    assert person.sync(book, CREDENTIAL) == HERE
    with_page.stop()
    person.again()
    person.read(book)
    person.start(None)
    assert person.refused() == "No answer from the service"
    with Process(operator.folder.path, "--web", "--port", str(with_page.port)):
        assert retry(person) == HERE


def test_a_budget_that_is_used_up(operator, visit, tmp_path):
    settings = operator.folder.settings_file
    settings.write_text(settings.read_text().replace("burst = 16384", "burst = 16"))
    many = cards(tmp_path / "many.vcf", {f"Nr {i}": f"+49151000000{i:02d}" for i in range(24)})
    with Process(operator.folder.path, "--web") as process:
        person = visit(process.url)
        person.read(many)
        person.start(CREDENTIAL)
        assert person.refused() == "The budget of your code is used up"
        assert re.search(r"Try again in \d+ (minutes|hours)\.", person.text("#problem"))
        port = process.port
        process.stop()
    settings.write_text(settings.read_text().replace("burst = 16", "burst = 1024"))
    with Process(operator.folder.path, "--web", "--port", str(port)):
        assert len(retry(person)) == 24


def test_storage_that_was_evicted_costs_a_first_sync_and_is_said(unchanged, visit, book):
    person = visit(unchanged.url)
    assert person.sync(book, CREDENTIAL) == HERE
    person.evict(origin=unchanged.url)
    person.again()
    assert person.sync(book, None) == HERE  # in the same tab, whose store is gone
    person.evict(origin=unchanged.url)
    person.reload()
    assert "Nothing of this service" in person.text("#kept")
    assert person.sync(book, CREDENTIAL) == HERE


def test_two_tabs_take_turns(unchanged, visit, book):
    person = visit(unchanged.url)
    first = person.tab
    person.meddle("/v1/evaluate/", hold=True)
    person.read(book)
    person.start(CREDENTIAL)
    person.wait("#left-list li.evaluate")
    second = person.open()
    person.read(book)
    person.start(CREDENTIAL)
    assert person.refused() == "It is already running in another tab"
    person.click("#forget")
    person.click("#sure-yes")
    person.wait("#problem:not([hidden]):not(:has(button))")  # another problem: of forgetting
    assert person.refused() == "It is already running in another tab"
    person.tab = first
    person.behave()
    person.wait("#result")
    assert person.texts("#matches .name bdi") == HERE
    person.tab = second
    person.start(None)
    person.wait("#result")
    assert person.texts("#matches .name bdi") == HERE
    person.tab = first
    person.click("#forget")  # while the other tab has it open
    person.click("#sure-yes")
    person.wait("#kept:has-text('Forgotten')")
    person.tab = second
    person.again()
    assert person.sync(book, None) == HERE


def test_twenty_thousand_cards_do_not_freeze_the_page(unchanged, visit, tmp_path):
    people = {f"Person {i:05d} <b>": f"+49151000{i % 400:05d}" for i in range(20000)}
    book = cards(tmp_path / "book.vcf", people)
    person = visit(unchanged.url)
    person.choose("#region", value="DE")
    person.evaluate(script="globalThis.__gap = 0")
    person.files("#file", paths=[str(book)])
    person.wait("#check")
    assert person.texts("#counts dd") == ["20,000", "400", "0"]
    person.start(CREDENTIAL)
    person.wait("#result", timeout=120000)
    assert person.text("#result-title") == "2,000 of your contacts are here"
    person.click("#more")
    person.fill("#search", text="19999")
    assert person.texts("#matches .name bdi") == []
    person.fill("#search", text="person 00039")
    assert person.texts("#matches .name bdi") == ["Person 00039 <b>"]
    gap = person.seen()["gap"]
    assert gap < 500, f"{gap:.0f} ms without a frame"
