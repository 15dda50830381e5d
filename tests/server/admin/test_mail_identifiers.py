"""Identifiers of e-mail addresses as a service writes them: in a body as they are, in a path decoded once."""

import pytest

from contactsync.identifiers import Rejected
from contactsync.server.admin.reading import identifier_of


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("mailto:ann@example.org", "mailto:ann@example.org"),
        ("mailto:Ann@Example.org", "mailto:ann@example.org"),
        ("mailto:a%25b@example.org", "mailto:a%25b@example.org"),
        ("mailto:%C3%BCmit@example.org", "mailto:%C3%BCmit@example.org"),
        ("mailto:ümit@münchen.de", "mailto:%C3%BCmit@xn--mnchen-3ya.de"),
        ("mailto:a%b@example.org", "mailto:a%25b@example.org"),
        ("mailto:a?b@example.org", "mailto:a%3Fb@example.org"),
        ("tel:+4915112345678", "tel:+4915112345678"),
    ],
)
def test_what_stands_for_an_identifier(text, identifier):
    assert identifier_of(text) == identifier.encode()


@pytest.mark.parametrize(
    "text", ["mailto:", "mailto:ann", "ann@example.org", "mailto:ann@localhost", "mailto:\ud800@x.org"]
)
def test_what_does_not_is_refused(text):
    with pytest.raises(Rejected):
        identifier_of(text)
