"""The page where there is too much to download: it asks, says what each choice tells, and what was told."""

import pytest
from javascript import CREDENTIAL
from server_tools import GERMAN, Operator, Process
from visiting import cards

pytestmark = pytest.mark.slow
PEOPLE = {"Anna": "+4915100000001", "Ben": "0151 00000002", "Nobody": "+4915900000009"}
LIMIT = 400_000

# As if little were allowed, and fewer buckets enough: else the server would need many more members.
SMALL = """(() => {
  const send = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message) {
    const { call, given } = message;
    if (call !== 'start') return send.call(this, message);
    const how = { maxDownload: %d, buckets: 8, ...given.how };
    return send.call(this, { ...message, given: { ...given, how } });
  };
})()"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("large") / "server")
    operator.accounts.add("javascript", "people", CREDENTIAL)
    operator.add(*range(GERMAN, GERMAN + 140_000))
    operator.publish()
    assert operator.manifest("people").partitions["49"].screen is not None
    with Process(operator.folder.path, "--web") as process:
        yield process
    operator.close()


@pytest.fixture
def person(large, visit):
    person = visit(large.url)
    person.evaluate(script=SMALL % LIMIT)
    return person


def stopped(person, book):
    """It has stopped to ask."""
    before = person.posts()
    person.read(book)
    person.start(CREDENTIAL)
    assert person.refused() == "The service has so much to download that you should decide"
    assert person.posts() == before
    return person.texts("#problem button")


def test_pieces_are_fetched_only_when_somebody_chooses_so(person, tmp_path):
    book = cards(tmp_path / "book.vcf", PEOPLE)
    every, some = stopped(person, book)
    assert every.startswith("Download all of it (")
    assert some.startswith("Download pieces (about ")
    assert "also sees which pieces" in person.text("#problem")
    person.click("#problem button:has-text('pieces')")
    person.wait("#result")
    assert person.texts("#matches .name bdi") == ["Anna", "Ben"]
    learnt = person.text("#learnt")
    assert (
        "0 to 8 new numbers or addresses, and that you fetched 8 of 32 pieces of the directory of +49"
        in learnt
    )
    assert learnt.endswith("up to 4 times as likely to be right). Not which, or who matched.")
    rows = person.texts("#left-list li.ranges")
    assert [row.split(" ")[2] for row in rows][:1] == ["1"]
    assert len(rows) == 3
    person.click("#languages [lang=de]")
    learnt = person.text("#learnt")
    assert "dass du 8 von 32 Stücken des Verzeichnisses von +49 geladen hast, darunter Attrappen" in learnt
    assert learnt.endswith("Nicht welche, oder wer gefunden wurde.")
    assert "Nach 1 Stück" in person.texts("#left-list li.ranges")[0]
    person.click("#languages [lang=en]")
    # It forgets all but that it was told: a new list would count from nothing, and show what both ask for.
    person.click("#forget")
    person.click("#sure-yes")
    person.wait("#kept:has-text('Only what the service was told')")
    stopped(person, book)
    person.click("#problem button:has-text('pieces')")
    person.wait("#result")
    assert "up to 16 times as likely" in person.text("#learnt")


def test_all_of_it_tells_nothing_more(person, tmp_path):
    book = cards(tmp_path / "book.vcf", PEOPLE)
    stopped(person, book)
    person.click("#problem button:has-text('all of it')")
    person.wait("#result")
    assert person.texts("#matches .name bdi") == ["Anna", "Ben"]
    learnt = person.text("#learnt")
    assert learnt.endswith(
        "0 to 8 new numbers or addresses. Not which, from which countries, or who matched."
    )
    assert person.texts("#left-list li.ranges") == []
