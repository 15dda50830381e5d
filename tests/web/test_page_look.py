"""How the page looks to machines that read it aloud, in both languages and modes, and on small screens."""

import pytest
from javascript import CREDENTIAL
from visiting import cards

pytestmark = pytest.mark.slow
PEOPLE = {
    "Anna": "+4915100000001",
    "نور حداد": "+4915100000002",
    "Maximiliane-Freifrau-von-Hohenstein-Lichtenwald-an-der-Niederbayern-Mitte": "+4915100000003",
    "Kurz": "110",
    **{f"Contact {i}": f"+49151000000{i:02d}" for i in range(4, 30)},
}
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


LANGUAGE = "document.querySelector('#languages [lang={}]').click()"


def steps(person, tmp_path):
    """The page in each of its states."""
    yield "choose"
    person.click("#choose summary")
    yield "how to get a file"
    person.read(cards(tmp_path / "book.vcf", PEOPLE))
    person.click("#unreadable summary")
    yield "check"
    person.start("cs_wrong")
    person.wait("#problem h2")
    person.click("#problem summary")
    yield "problem"
    person.meddle("/v1/evaluate/", hold=True)
    person.start(CREDENTIAL)
    person.wait("#left-list li.evaluate")
    yield "work"
    person.click("#stop")
    person.behave()
    person.start(None)
    person.wait("#result")
    yield "result"
    person.click("#forget")
    yield "forget"
    person.click("#sure-no")


def test_axe_has_nothing_against_it(unchanged, visit, tmp_path):
    person = visit(unchanged.url)
    for step in steps(person, tmp_path):
        for language in ("en", "de"):
            person.evaluate(script=LANGUAGE.format(language))
            for dark in (False, True):
                person.media(dark=dark)
                assert person.axe() == [], (step, language, dark)


def test_nothing_is_wider_than_a_phone(unchanged, visit, tmp_path):
    person = visit(unchanged.url, viewport={"width": 320, "height": 640}, hasTouch=True)
    for step in steps(person, tmp_path):
        for language in ("en", "de"):
            person.evaluate(script=LANGUAGE.format(language))
            assert person.evaluate(script=WIDER) <= 0, (step, language)
