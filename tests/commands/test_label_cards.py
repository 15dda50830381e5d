"""Labels in vCards, CSV and tables: they are text from a server, and must not change what is around them."""

import csv
import io

import pytest
from click.testing import CliRunner
from configured_desk import ANNA, CARL
from json_checks import check

from contactsync.client.report import Match
from contactsync.commands import _output, _screen, main
from contactsync.commands._people import FoundSomewhere
from contactsync.commands._vcards import PLAIN, LabelTemplate, vcards
from contactsync.contacts.vcard import read_vcards

NASTY = [
    "a\r\nTEL;VALUE=uri:tel:+491",
    "a\nEND:VCARD",
    "a;b,c\\d",
    "?#/../%0a",
    'x" y',
    "ö\u0301 漢字",
    "\u202egnirts",
    "\x1b[2J",
    "\x85X:y",
    "\u2028X:y",
]


@pytest.mark.parametrize("label", NASTY)
@pytest.mark.parametrize("template", ["xmpp:{label}", "https://chat.example/#/{label}", "X-Y:chat {label}"])
def test_a_label_stays_within_its_property(label, template):
    text = vcards([("Anna", ["tel:+49301"], [LabelTemplate.of(template).line(label)], [])])
    lines = text.replace("\r\n ", "").removesuffix("\r\n").split("\r\n")
    assert [line.partition(":")[0] for line in lines] == [
        *("BEGIN", "VERSION", "FN", "TEL;VALUE=uri"),
        "X-Y" if template.startswith("X-") else "IMPP",
        "END",
    ]
    (card,) = read_vcards(text.encode())
    assert (card.name, [number.text for number in card.numbers]) == ("Anna", ["tel:+49301"])


def test_what_a_template_makes_of_a_label():
    line = LabelTemplate.of("xmpp:{label}").line
    assert line("anna@example.org") == "IMPP:xmpp:anna@example.org"
    assert line("anna@example.org/phone?call") == "IMPP:xmpp:anna@example.org%2Fphone%3Fcall"
    assert LabelTemplate.of("matrix:u/{label}").line("anna:example.org") == "IMPP:matrix:u/anna:example.org"
    assert LabelTemplate.of("x-jabber:{label}").line("a,b") == "X-JABBER:a\\,b"
    assert LabelTemplate.of(PLAIN).line("@anna:example.org") == "X-CONTACTSYNC-LABEL:@anna:example.org"


@pytest.mark.parametrize(
    "template",
    [
        *("", "{label}", "xmpp:", "xmpp:anna", "xmpp:{label}{label}", "{label}:x", "X-:{label}"),
        *("X-A\r\nTEL:{label}", "xmpp:{label}\r\nTEL:1", "xm pp:{label}", "xmpp:{label} x", "X-A:{label}\n"),
        *("X-A;B=C:{label}", "1xmpp:{label}", "xmpp:{other}", 'xmpp:"{label}"'),
    ],
)
def test_what_is_no_template(template):
    with pytest.raises(ValueError, match="it "):
        LabelTemplate.of(template)
    result = CliRunner().invoke(main, ["sync", "x.csv", "--format", "vcf", "--label-template", template])
    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert "--label-template" in result.output


def test_a_template_is_for_vcards():
    result = CliRunner().invoke(main, ["sync", "x.csv", "--label-template", "xmpp:{label}"])
    assert (result.exit_code, "--format vcf" in result.output) == (2, True)


# ---- what a sync prints, with one service and with two -----------------------------------------------


@pytest.fixture
def labelled(configured):
    """Anna and Bodo have labels at work, Anna another one in the club."""
    configured.work.labels = {ANNA: "@anna:work.example", CARL: "bodo, the one; of \\ work"}
    configured.work.size = 32
    configured.work.publish(ANNA, CARL)
    configured.club.labels = {ANNA: "anna@club.example"}
    configured.club.size = 32
    configured.club.publish(ANNA)
    return configured


@pytest.mark.slow
def test_one_service(labelled):
    one = ["sync", "--server", "work"]
    value = check("sync-one", labelled.run(*one, "--json").stdout)
    assert {match["identifier"]: match["label"] for match in value["matches"]} == {
        f"tel:{ANNA}": "@anna:work.example",
        f"tel:{CARL}": "bodo, the one; of \\ work",
    }
    assert value["labels"] == {"unopened": 0, "unknown": 0}
    table = labelled.run(*one).stdout.splitlines()
    assert table[0].split() == ["NAME", "NUMBER", "LABEL"]
    assert table[1].split() == ["Anna", ANNA, "@anna:work.example"]
    rows = list(csv.reader(io.StringIO(labelled.run(*one, "--format", "csv").stdout)))
    assert rows[:2] == [["name", "identifier", "label"], ["Anna", f"tel:{ANNA}", "@anna:work.example"]]
    cards = labelled.run(*one, "--format", "vcf", "--label-template", "https://w.example/{label}").stdout
    assert "IMPP:https://w.example/@anna:work.example" in cards.splitlines()
    assert (
        "X-CONTACTSYNC-LABEL:bodo\\, the one\\; of \\\\ work"
        in labelled.run(*one, "--format", "vcf").stdout.replace("\r\n", "\n").splitlines()
    )
    value = check("sync-one", labelled.run(*one, "--json", "--labels", "no").stdout)
    assert ({match["label"] for match in value["matches"]}, value["labels"]) == ({None}, None)
    assert "LABEL" not in labelled.run("matches").stdout, "none are kept that were not wanted"


@pytest.mark.slow
def test_two_services_and_what_is_kept(labelled):
    labelled.configure(club='label_template = "xmpp:{label}"')
    check("sync", labelled.run("sync", "--json").stdout)
    assert labelled.run("sync").stdout.splitlines()[1].split() == [
        *("Anna", ANNA, "work", "(@anna:work.example),", "club", "(anna@club.example)")
    ]
    rows = list(csv.DictReader(io.StringIO(labelled.run("sync", "--format", "csv").stdout)))
    assert (rows[0]["label work"], rows[0]["label club"]) == ("@anna:work.example", "anna@club.example")
    assert (rows[1]["services"], rows[1]["label club"]) == ("work", "")
    cards = labelled.run("sync", "--format", "vcf").stdout.splitlines()
    assert "IMPP:xmpp:anna@club.example" in cards
    assert "X-CONTACTSYNC-LABEL:@anna:work.example" in cards
    assert "(@anna:work.example)" in labelled.run("matches").stdout
    value = check("matches", labelled.run("matches", "--json").stdout)
    assert value["people"][0]["services"][1]["labels"] == {f"tel:{ANNA}": "anna@club.example"}
    for word in ("club.example", "@anna"):
        found = check("search", labelled.run("search", word, "--json").stdout)
        assert [one["name"] for one in found["people"]] == ["Anna"]
    check("config-show", labelled.run("config", "show", "--json").stdout)


@pytest.mark.slow
def test_a_label_that_does_not_open_is_said(labelled):
    honest = labelled.work.seal

    def spoiled(*given):
        before, labelled.work.sealed = labelled.work.sealed, {}
        honest(*given)
        labelled.work.sealed = before | {token: one ^ 1 for token, one in labelled.work.sealed.items()}

    labelled.work.seal = spoiled
    labelled.work.publish(ANNA)
    result = labelled.run("sync", "--server", "work")
    assert result.exit_code == 0
    assert f"Anna  {ANNA}" in result.stdout, "the match stays"
    assert "warning: 1 label does not open for its match" in result.stderr
    value = check("sync-one", labelled.run("sync", "--server", "work", "--json").stdout)
    assert value["labels"] == {"unopened": 1, "unknown": 0}


def test_a_terminal_is_not_hurt_by_a_label():
    """What opens is printable; and what is printed is cleaned once more."""
    match = Match("Anna", "tel:+491", "tel:+491", "a\x1b[2J\rb\u202ec")
    rows = [(match.name, match.identifier, _output.printable(match.label))]
    text = _output.table(*_output.with_labels(("NAME", "NUMBER"), rows), plain=True)
    assert text.splitlines()[1].endswith("a?[2J?b?c")
    person = FoundSomewhere("Anna", {"work": ["tel:+491"]}, {"work": {"tel:+491": match.label}})
    assert "\x1b" not in "".join(person.row() + person.row_of_one())


@pytest.mark.parametrize("columns", range(24, 100, 3))
def test_no_character_is_lost_where_a_terminal_is_narrow(monkeypatch, columns):
    """A label that lacks a character is somebody else's."""
    monkeypatch.setenv("COLUMNS", str(columns))
    row = ("Maximiliane von Hohenstein", "+491512345671", "@anna.mueller:chat.work.example")
    lines = _screen.table(("NAME", "NUMBER", "LABEL"), [row]).splitlines()[1:]
    shown = "".join("".join(lines).split())
    assert sorted(shown) == sorted("".join(row).replace(" ", ""))
