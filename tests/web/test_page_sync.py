"""The page in a real browser, with a real server: what people do with it, and what it shows and keeps."""

import csv
import io
import json
import time

import pytest
from javascript import CREDENTIAL, WEB
from server_tools import Process, numbers, run
from visiting import DUMP, cards

pytestmark = pytest.mark.slow
ANNA, BEN, CEM, NEW = "+4915100000001", "+4915100000002", "+4915100000003", "+4915100000077"
STRANGER = "+4915900000009"
PEOPLE = {"Anna": ANNA, "Ben": "0151 00000002", "Nobody": STRANGER}


def test_first_sync_then_one_without_news(unchanged, visit, tmp_path):
    book = cards(tmp_path / "book.vcf", PEOPLE)
    person = visit(unchanged.url)
    assert "Nothing of this service" in person.text("#kept")
    assert person.sync(book, CREDENTIAL) == ["Anna", "Ben"]
    assert person.text("#result-title") == "2 of your contacts are here"
    assert person.texts("#matches .number") == [ANNA, BEN]
    assert person.text("#left-sum").startswith("8 scrambled points, 256 bytes, in ")
    assert "you looked up 0 to 8 new numbers" in person.text("#learnt")
    listed = person.texts("#left-list code")
    asked = [one for one in person.seen()["requests"] if "/v1/" in one]
    assert len(listed) == len(asked)
    assert listed[-1] == "POST /v1/evaluate/people/1"
    assert person.posts() == 1

    kept = dict(person.evaluate(script=DUMP))
    assert f"tel:{ANNA}" in kept["audience-people.json"]
    assert not any(name in text for text in kept.values() for name in ("Anna", "Ben", "Nobody", CREDENTIAL))

    person.reload()  # a later visit
    assert person.text("#kept").startswith("Since ")
    before = len(person.seen()["requests"])
    assert person.sync(book, CREDENTIAL) == ["Anna", "Ben"]
    again = [one.partition("/v1/")[2] for one in person.seen()["requests"][before:] if "/v1/" in one]
    assert sorted(again[:2]) == ["tuf/metadata/2.root.json", "tuf/metadata/timestamp.json"]
    assert again[2:] == ["account", "evaluate/people/1"]


def test_what_was_read_is_shown_before_anything_is_sent(unchanged, visit, tmp_path):
    person = visit(unchanged.url, locale="de-DE")
    person.read(cards(tmp_path / "book.vcf", {**PEOPLE, "Kurz": "110", "Leer": "keine"}), region=None)
    assert person.texts("#counts dd") == ["5", "3", "2"]  # the region is that of the language
    assert person.text("#check-title") == "Das wurde gelesen"
    person.click("#unreadable summary")
    said = person.texts("#unreadable-list li")
    assert said[0].startswith("eine Kurzwahl oder ein Notruf")
    assert "book.vcf" in said[0]
    assert said[1].startswith("keine Telefonnummer")
    assert "etwa 8 verschleierte Punkte" in person.text("#will-send")
    assert [one for one in person.seen()["requests"] if "/v1/" in one] == []
    person.start("  ")
    assert "cs_" in person.text("#credential-wrong")
    assert [one for one in person.seen()["requests"] if "/v1/" in one] == []


def test_a_book_without_numbers_cannot_be_sent(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no address book")
    person.read(path)
    assert person.text("#unreadable-title").startswith("1 entry that could not be read")
    assert not person.visible("#go")
    assert "Choose another file" in person.text("#will-send")


def test_script_in_names_stays_text(unchanged, visit, tmp_path):
    names = [
        "<img src=x onerror=alert(1)>",
        '"><script>alert(1)</script>',
        "نور حداد",
        "陳大文",
        "\u202eevil",
    ]
    people = {name: f"+49151000000{i:02d}" for i, name in enumerate(names)}
    person = visit(unchanged.url)
    found = person.sync(cards(tmp_path / "<b>book.vcf", people), CREDENTIAL)
    assert set(names[:4]) < set(found)
    assert person.evaluate(script="document.querySelectorAll('#matches img, #matches script').length") == 0
    assert (
        person.evaluate(script="getComputedStyle(document.querySelector('#matches bdi')).unicodeBidi")
        == "isolate"
    )


def card(*lines):
    return "\n".join(("BEGIN:VCARD", "VERSION:3.0", *lines, "END:VCARD", ""))


HOSTILE = {
    "names of what objects have": card(
        *("FN:__proto__", "__PROTO__:x", "CONSTRUCTOR;VALUEOF=1:x"),
        f"TEL;__proto__=x;TYPE=constructor:{ANNA}",
    ),
    "control characters": card("FN:\0\x1b[31m\u202e<b>", f"TEL:{ANNA}"),
    "a line of two megabytes": card("FN:A", "NOTE:" + "x" * 2_000_000, f"TEL:{ANNA}"),
    "folded 100,000 times": card("FN:A", "NOTE:" + "x\n " * 100_000, f"TEL:{ANNA}"),
    "cards in cards": "BEGIN:VCARD\n" * 20_000 + f"FN:A\nTEL:{ANNA}\n" + "END:VCARD\n" * 20_000,
    "addresses of elsewhere": card(
        *("FN:A", "URL:javascript:alert(1)", "PHOTO;VALUE=uri:http://evil.example/x"),
        f"TEL;VALUE=uri:tel:{ANNA}",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_card_is_read_or_reported_and_does_nothing_else(unchanged, visit, tmp_path, kind):
    path = tmp_path / "hostile.vcf"
    path.write_text(card("FN:Ben", f"TEL:{BEN}") + HOSTILE[kind] + card("FN:Cem", f"TEL:{CEM}"))
    person = visit(unchanged.url)
    person.read(path)
    identifiers, unread = (int(one.replace(",", "")) for one in person.texts("#counts dd")[1:])
    assert identifiers == 3 or unread, "a number was lost, and nobody was told"
    person.start(CREDENTIAL)
    person.wait("#result")
    found = person.texts("#matches .name bdi")
    assert {"Ben", "Cem"} <= set(found)
    assert len(found) == identifiers
    assert person.evaluate(script="document.querySelectorAll('#matches b, #matches img').length") == 0
    # Who asked somebody else, or ran a script, is found by `visit`.


def test_a_new_edition_says_who_came_and_who_left(operator, with_page, visit, tmp_path):
    book = cards(tmp_path / "book.vcf", {"Anna": ANNA, "Ben": BEN, "Newcomer": NEW})
    person = visit(with_page.url)
    assert person.sync(book, CREDENTIAL) == ["Anna", "Ben"]
    operator.add(int(NEW))
    operator.registry.remove(numbers(int(BEN)), "people")
    operator.publish()
    person.again()
    assert person.sync(book, None) == ["Anna", "Newcomer"]
    assert person.texts("#matches .badge") == ["new"]
    assert "Ben" in person.text("#notes")
    operator.publish(new_epoch=True)
    person.again()
    assert person.sync(book, None) == ["Anna", "Newcomer"]
    assert not person.visible("#matches .badge")


@pytest.mark.skipif(
    "labels?" not in (WEB / "src" / "index.d.ts").read_text(), reason="needs a client with labels"
)
def test_labels_are_links_by_the_operators_template(operator, visit, tmp_path):
    labels = {ANNA: "@anna:example.org", BEN: 'https://evil.example/"><b>', "+4915100000003": "نور"}
    with (tmp_path / "members.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("phone", "label"), *labels.items()])
    run(
        "members",
        "import",
        str(tmp_path / "members.csv"),
        "--label-column",
        "label",
        data=operator.folder.path,
    )
    operator.publish()
    settings = operator.folder.settings_file
    settings.write_text('web_label_link = "https://matrix.to/#/{label}"\n' + settings.read_text())
    with Process(operator.folder.path, "--web") as process:
        person = visit(process.url)
        person.sync(
            cards(tmp_path / "book.vcf", {"Anna": ANNA, "Ben": BEN, "Cem": "+4915100000003"}), CREDENTIAL
        )
        assert person.texts("#matches .label-of bdi") == list(labels.values())
        links = (
            "[...document.querySelectorAll('#matches a')].map((one) => [one.getAttribute('href'), one.rel])"
        )
        assert person.evaluate(script=links) == [
            [f"https://matrix.to/#/{label}", "noopener noreferrer"]
            for label in (
                "@anna:example.org",
                "https:%2F%2Fevil.example%2F%22%3E%3Cb%3E",
                "%D9%86%D9%88%D8%B1",
            )
        ]


def test_files_to_save(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    person.sync(cards(tmp_path / "book.vcf", {'=HYPERLINK("x")': ANNA, "Ben, B.": BEN}), CREDENTIAL)
    name, text = person.download("#csv")
    assert name == "contacts-here.csv"
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    assert rows[0] == ["name", "identifier", "label"]
    assert sorted(rows[1:]) == [['\'=HYPERLINK("x")', f"tel:{ANNA}", ""], ["Ben, B.", f"tel:{BEN}", ""]]
    name, text = person.download("#json")
    assert name == "contacts-here.json"
    value = json.loads(text)
    assert (value["version"], [one["identifier"] for one in value["matches"]]) == (
        1,
        [f"tel:{ANNA}", f"tel:{BEN}"],
    )


def test_a_dropped_file_and_one_in_csv(unchanged, visit):
    person = visit(unchanged.url)
    person.choose("#region", value="DE")
    person.drop("#drop", file="book.csv", text="name,phone\nAnna,0151 00000001\nNobody,0159 00000009\n")
    person.wait("#check")
    person.start(CREDENTIAL)
    person.wait("#result")
    assert person.texts("#matches .name bdi") == ["Anna"]


def test_contacts_that_are_picked_on_a_phone(unchanged, visit):
    contacts = [
        {"name": ["An;na,\nTEL:+4915100000003"], "tel": [ANNA, STRANGER]},
        {"name": [], "tel": [BEN]},
        {"name": ["No number"], "tel": []},
    ]
    person = visit(unchanged.url, fakes={"contacts": contacts})
    person.click("#pick")
    person.wait("#check")
    assert person.texts("#counts dd")[1] == "3"  # a name cannot bring a number in
    person.start(CREDENTIAL)
    person.wait("#result")
    assert person.texts("#matches .number") == [BEN, ANNA]


def test_without_a_picker_there_is_no_button(unchanged, visit):
    assert not visit(unchanged.url).visible("#pick")


def test_the_code_is_kept_if_wanted_and_all_is_forgotten(unchanged, visit, tmp_path):
    book = cards(tmp_path / "book.vcf", PEOPLE)
    person = visit(unchanged.url)
    person.read(book)
    person.click("#keep")
    person.start(CREDENTIAL)
    person.wait("#result")
    assert "Your access code, too." in person.text("#kept")
    person.reload()
    assert person.sync(book, None) == ["Anna", "Ben"]
    person.click("#forget")
    person.click("#sure-no")
    assert person.evaluate(script=DUMP) != []
    person.click("#forget")
    person.click("#sure-yes")
    person.wait("#choose")
    assert person.text("#kept").startswith("Forgotten")
    assert person.evaluate(script=DUMP) == []
    assert person.evaluate(script="document.getElementById('credential').value") == ""
    assert "Anna" not in person.text("body")
    person.reload()
    assert "Nothing of this service" in person.text("#kept")


def test_languages_change_what_is_shown_at_once(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    assert person.sync(cards(tmp_path / "book.vcf", PEOPLE), CREDENTIAL) == ["Anna", "Ben"]
    person.click("#languages button[lang=de]")
    assert person.text("#result-title") == "2 deiner Kontakte sind hier"
    assert "Was der Dienst erfahren konnte" in person.text("#learnt")
    assert person.texts("#left-list li.evaluate span")[0].startswith("8 verschleierte Punkte gesendet")
    assert person.evaluate(script="document.documentElement.lang") == "de"


def test_without_a_mouse(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    focused = "document.activeElement.id"
    person.read(cards(tmp_path / "book.vcf", PEOPLE))
    assert person.evaluate(script=focused) == "check-title"
    person.press(key="Tab")
    assert person.evaluate(script=focused) == "credential"
    person.fill("#credential", text=CREDENTIAL)
    person.press(key="Enter")
    person.wait("#result")
    assert person.evaluate(script=focused) == "result-title"


def test_stopped_and_continued(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    person.meddle("/v1/evaluate/", hold=True)
    person.read(cards(tmp_path / "book.vcf", PEOPLE))
    person.start(CREDENTIAL)
    person.wait("#left-list li.evaluate")
    person.click("#stop")
    person.wait("#check")
    person.behave()
    person.start(None)
    person.wait("#result")
    assert person.texts("#matches .name bdi") == ["Anna", "Ben"]


def test_reading_is_stopped_too(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    many = cards(tmp_path / "many.vcf", {f"Person {i}": f"+4915{i:09d}" for i in range(60000)})
    person.files("#file", paths=[str(many)])
    person.click("#stop")
    person.wait("#choose")
    assert person.sync(cards(tmp_path / "book.vcf", PEOPLE), CREDENTIAL) == ["Anna", "Ben"]


def test_what_a_sync_computes_with_is_loaded_when_the_page_opens(unchanged, visit):
    person = visit(unchanged.url)
    while not any(one.endswith("/page/contactsync-sodium.mjs") for one in person.seen()["requests"]):
        time.sleep(0.1)  # the test has a time limit
    assert not any("/v1/" in one for one in person.seen()["requests"])
