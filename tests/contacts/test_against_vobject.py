"""On well-formed cards our reader and vobject, an independent one, agree."""

import random
import warnings

import pytest
import vobject

from contactsync.contacts.book import Entry
from contactsync.contacts.vcard import read_vcards

NAMES = ["Ada", "Jörg Krüger", "佐藤 健", "O'Neill, Derek; jr.", "a\\b", "x" * 90, "Chloé " * 20, "نور"]
NUMBERS = ["+49 151 12345678", "tel:+1-415-555-2671;ext=2", "030 1234,,5", "1 2 3", "(0151) 234", "+46" * 40]
TYPES = [["HOME"], ["CELL", "VOICE"], ["WORK", "pref"], []]


def written_by_vobject(rng):
    """A file of cards, folded and escaped by vobject; some with what we pass over."""
    text = []
    for _ in range(rng.randint(1, 6)):
        card = vobject.vCard()
        card.add("fn").value = rng.choice(NAMES)
        card.add("n").value = vobject.vcard.Name(family=rng.choice(NAMES), given=rng.choice(NAMES))
        for _ in range(rng.randint(0, 4)):
            tel = card.add("tel", group=rng.choice([None, "item1"]))
            tel.value = rng.choice(NUMBERS)
            types = rng.choice(TYPES)
            if types:
                tel.type_paramlist = types
        if rng.random() < 0.5:
            photo = card.add("photo")
            photo.encoding_param = "b"
            photo.value = rng.randbytes(300)
        if rng.random() < 0.5:
            card.add("note").value = "TEL:1\nEND:VCARD\nFN:nobody " * 5
        text.append(card.serialize())
    return "".join(text)


@pytest.mark.parametrize("seed", range(40))
def test_cards_written_by_vobject(seed):
    text = written_by_vobject(random.Random(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = [
            (card.fn.value, [tel.value for tel in card.contents.get("tel", [])])
            for card in vobject.readComponents(text)
        ]
    ours = list(read_vcards(text.encode()))
    assert all(isinstance(found, Entry) for found in ours)
    assert [(found.name, [number.text for number in found.numbers]) for found in ours] == theirs
