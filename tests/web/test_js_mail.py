"""Random addresses: the JavaScript client makes the same identifiers, or rejects for the same reason."""

import json
import random
import unicodedata

import pytest
from javascript import WEB, needs_node, node

from contactsync.identifiers import Rejected, mail

SCRIPT = """
import {{ readFileSync }} from 'node:fs';
import {{ normaliseMail }} from {bundle};
const read = (text) => {{ try {{ return normaliseMail(text); }} catch (error) {{ return error.reason; }} }};
console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(read)));
"""
# What rules are about: joiners and what they stand between, middle dots, digits of two kinds, final sigma.
SPECIAL = [*"אابـ्कアΑΣς·΅1١۱\u200c\u200d\u00ad\u0375\u05f3\u30fbＡ。\u064e\u0301", "ﬀ", "ß", "İ"]


def character(chance):
    match chance.randrange(10):
        case 0 | 1 | 2 | 3:
            return chance.choice("abcXYZ019-_.+%")
        case 4 | 5:
            return chance.choice(SPECIAL)
    # In every version of Unicode that a Python or an engine may have.
    while unicodedata.ucd_3_2_0.category(one := chr(chance.randrange(0x20, 0x1_1000))) in {"Cn", "Cs", "Co"}:
        pass
    return one


def address(chance):
    def some(most):
        return "".join(character(chance) for _ in range(chance.randrange(1, most)))

    domain = ".".join(some(6) for _ in range(chance.randrange(1, 3)))
    match chance.randrange(8):
        case 0:
            domain = "xn--" + "".join(chance.choice("abcdefgh0123-") for _ in range(chance.randrange(1, 9)))
        case 1:
            domain = "xn--" + some(5).encode("punycode").decode()
    local = some(7) if chance.randrange(2) else "ann"
    text = f"{local}@{domain}{chance.choice(['.org', '.de', '', '.com.'])}"
    match chance.randrange(8):
        case 0:
            return f"Ann <{text}>"
        case 1:
            return (
                "mailto:" + "".join(f"%{octet:02x}" for octet in text.encode()) + chance.choice(["", "?x=y"])
            )
        case 2:
            return f"mailto:{text}"
    return text


def read(text):
    try:
        return mail.normalise(text).decode()
    except Rejected as rejected:
        return rejected.reason


@needs_node
@pytest.mark.slow
def test_random_addresses():
    chance = random.Random(1)
    texts = [address(chance) for _ in range(20_000)]
    script = SCRIPT.format(bundle=json.dumps(str(WEB / "bundle" / "contactsync.mjs")))
    theirs = json.loads(node("--input-type=module", "-e", script, given=json.dumps(texts)).stdout)
    ours = [read(text) for text in texts]
    assert [pair for pair in zip(texts, ours, theirs, strict=True) if pair[1] != pair[2]] == []
    beyond = [one for one in ours if one.startswith("mailto:") and ("%" in one or "xn--" in one)]
    assert len(beyond) > 1000
    assert len(set(ours) - {one for one in ours if one.startswith("mailto:")}) > 10  # reasons
