"""Labels in vCards, CSV and tables: they are text from a server, and must not change what is around them."""

import pytest
from click.testing import CliRunner

from contactsync.commands import main
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
    assert PLAIN.line("@anna:example.org") == "X-CONTACTSYNC-LABEL:@anna:example.org"


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
