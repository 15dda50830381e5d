"""Random books: the JavaScript client reads, finds and prints what `contactsync sync` does.

Numbers in all their forms and addresses, some of one member, some with labels.
"""

import base64
import hashlib
import json
import random
from concurrent.futures import ThreadPoolExecutor

import phonenumbers
import pytest
from click.testing import CliRunner
from javascript import CREDENTIAL, ROOT, needs_node, node
from server_tools import Operator, Process

from contactsync.commands import main
from contactsync.identifiers import further_forms, normalise
from contactsync.identifiers import mail as mail_kind
from contactsync.library.books import address_book
from contactsync.server.storage.ports import Members

MANY = ROOT / "tests" / "web" / "many.mjs"
REGIONS = ("DE", "GB", "US", "BR", "IT", "FR", "IN", "AR", "MX", "JP", "BJ")
MAILS = (
    *(f"user{i}@example.org" for i in range(30)),
    *(
        "Ümit@münchen.de",
        "νίκος@example.gr",
        "ann+news@mail.example",
        "o'neil@example.ie",
        "نامه‌ای@example.org",
    ),
)
NAMES = (
    "Anna Müller",
    "Bożena",
    "Łukasz 'Q'",
    "王芳",
    "علي",
    "O\u2019Neil, Jr",
    "x;y",
    "<script>",
    "Zoë\u200b",
    "",
)


def number(chance, region):
    """A number of a region, and its identifier."""
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    text = str(example.country_code) + phonenumbers.national_significant_number(example)
    for _ in range(30):
        changed = "+" + text[:-5] + f"{chance.randrange(100_000):05d}"
        parsed = phonenumbers.parse(changed)
        if phonenumbers.is_valid_number(parsed):
            return parsed, normalise(changed, None)
    return example, normalise("+" + text, None)


def written(chance, parsed, region):
    """The number as somebody in a region may write it."""
    of = phonenumbers.region_code_for_number(parsed)
    formats = [phonenumbers.PhoneNumberFormat.E164, phonenumbers.PhoneNumberFormat.INTERNATIONAL]
    if of == region:
        formats += [phonenumbers.PhoneNumberFormat.NATIONAL] * 2
    text = phonenumbers.format_number(parsed, chance.choice(formats))
    match chance.randrange(8):
        case 0:
            return text.replace(" ", "\u00a0")
        case 1:
            return text.replace("-", "\u2013")
        case 2 if text.startswith("+"):
            return "00" + text[1:] if region in {"DE", "GB", "IT", "FR"} else text
        case 3 if text.startswith("+"):
            return f"tel:{text.replace(' ', '-')}"
        case 4:
            return "\u202a" + text + "\u202c"
    return text


def mail(chance):
    """An address as somebody may write it, or something that is none."""
    address = chance.choice(MAILS)
    match chance.randrange(9):
        case 0:
            return address.upper()
        case 1:
            return f"Ann Lee <{address}>"
        case 2:
            return f"mailto:{address.replace('+', '%2B')}?subject=x"
        case 3:
            return f" {address}. "
        case 4:
            return chance.choice(["nobody", "a@b", "a..b@example.org", "x@[192.0.2.1]", "😀@example.org"])
    return address


def book_of(chance, crowd):
    """A book: its file, its region, and nothing that only one of the two readers can read."""
    region = chance.choice(REGIONS)
    people = []
    for _ in range(chance.randrange(1, 12)):
        texts = [written(chance, chance.choice(crowd)[0], region) for _ in range(chance.randrange(1, 4))]
        texts += ["12", "110", "not a number", "+999 123 4567", "*21#"][: chance.randrange(6)] * (
            chance.random() < 0.2
        )
        people.append((chance.choice(NAMES), texts, [mail(chance) for _ in range(chance.randrange(3))]))
    form = chance.choice(["vcard", "vcard", "old", "google", "list", "ldif"])
    if form == "list":
        lines = [
            one for _, texts, mails in people for one in (*texts, *mails) if "n" not in one or "@" in one
        ]
        return "book.txt", "".join(f"{one}\n" for one in lines), region
    if form == "google":
        quoted = lambda text: '"' + text.replace('"', '""') + '"'  # noqa: E731
        rows = (
            ",".join(map(quoted, (name, " ::: ".join(texts), " ::: ".join(mails))))
            for name, texts, mails in people
        )
        header = "Name,Phone 1 - Value,E-mail 1 - Value"
        return "book.csv", "\r\n".join([header, *rows, ""]), region
    if form == "ldif":
        return "book.ldif", "\n".join(line for person in people for line in ldif(*person)), region
    cards = []
    for name, texts, mails in people:
        version, kind = ("2.1", ";CELL") if form == "old" else (chance.choice(["3.0", "4.0"]), ";TYPE=cell")
        safe = name if form == "old" else name.replace(",", "\\,").replace(";", "\\;")
        lines = [
            f"VERSION:{version}",
            f"FN:{safe}",
            *(f"item{i}.TEL{kind}:{text}" for i, text in enumerate(texts)),
            *(f"EMAIL:{text}" for text in mails),
        ]
        cards += ["BEGIN:VCARD", *lines, "PHOTO;ENCODING=b:" + "A" * 70, " " + "B" * 70, "END:VCARD"]
    return "book.vcf", "\r\n".join([*cards, ""]), region


def ldif(name, texts, mails):
    """An entry as Thunderbird writes it: base64 where a value is not ASCII, and folded lines."""
    yield "dn: cn=somebody"
    yield "objectclass: mozillaAbPersonAlpha"
    kinds = ("homePhone", "mobile", "telephoneNumber")
    values = [("cn", name), *zip(kinds * 3, texts, strict=False)]
    values += [*(("mail", text) for text in mails)]
    for attribute, text in values:
        line = f"{attribute}: {text}"
        if not text.isascii() or text.startswith(" "):
            line = f"{attribute}:: {base64.b64encode(text.encode()).decode()}"
        yield from (line[i : i + 60] if i == 0 else " " + line[i : i + 60] for i in range(0, len(line), 60))
    yield ""


@pytest.fixture(scope="module")
def crowd():
    chance = random.Random(18)
    return [number(chance, chance.choice(REGIONS)) for _ in range(400)]


@pytest.fixture(scope="module")
def served(tmp_path_factory, crowd):
    operator = Operator(tmp_path_factory.mktemp("parity") / "server")
    settings = operator.folder.settings_file
    settings.write_text(settings.read_text().replace("burst = 16384", "burst = 1000000"))
    for name in ("javascript", "python"):
        operator.accounts.add(name, "people", CREDENTIAL + name)
    chance = random.Random(1)
    members = [identifier for _, identifier in crowd[::2]]
    # Some are members under another form than the one that people write.
    members = [chance.choice([one, *further_forms(one)]) for one in members]
    store = operator.registry
    addresses = [mail_kind.normalise(one) for one in MAILS[::2]]
    both = Members.of(members[:5])  # members with a number and an address
    keys = [address.removeprefix(b"mailto:") for address in addresses[: len(both)]]
    assert not store.enrol(both, keys).conflicts
    for some in (members[5:], addresses[5:]):
        store.add(Members.of(some), "people")
    for one in (*members[::3], *addresses[::2]):
        store.label(Members.of([one]), [f"@{one[-9:].decode()}".encode()])
    operator.publish()
    with Process(operator.folder.path) as process:
        yield process.url, (operator.folder.public / "metadata" / "1.root.json").read_bytes()
    operator.close()


# What may differ: sizes of requests, budgets of two accounts, what one client alone prints, and words of
# rejections, which are counted.
OF_THE_CLIENT = {"bytes_sent", "bytes_received", "quota", "unreadable", "uncovered", "version"}


def command(*words):
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.stderr
    return done.stdout


def sync_and_read(folder, url, state, book):
    """What `contactsync sync --json` prints of a book, and the identifiers that it reads."""
    path = folder / book["name"]
    path.write_bytes(book["text"].encode())
    options = ("--server", url, "--credential-file", folder / "credential", "--state", state, "--no-cover")
    printed = json.loads(command("sync", path, *options, "--region", book["region"], "--json"))
    return printed, [one.decode() for one in address_book(str(path), region=book["region"]).identifiers]


def compared(tmp_path, monkeypatch, served, crowd, *, seed, count):
    monkeypatch.setattr("contactsync.client.transport.PACE_SECONDS", 0.001)
    url, root = served
    chance = random.Random(seed)
    books = [dict(zip(("name", "text", "region"), book_of(chance, crowd), strict=True)) for _ in range(count)]
    given = {
        "url": url,
        "credential": CREDENTIAL + "javascript",
        "root": base64.b64encode(root).decode(),
        "books": books,
    }
    (tmp_path / "credential").write_text(CREDENTIAL + "python")
    (tmp_path / "root.json").write_bytes(root)
    state = tmp_path / "state"
    command("trust", url, "--fingerprint", hashlib.sha256(root).hexdigest(), "--state", state)
    with ThreadPoolExecutor(1) as beside:
        theirs = beside.submit(node, MANY, given=json.dumps(given), timeout=1200)
        ours = [sync_and_read(tmp_path, url, state, book) for book in books]
    matches = []
    for book, (one, read), other in zip(books, ours, json.loads(theirs.result().stdout), strict=True):
        assert other["read"] == read, book
        found = other["found"]
        differing = {key for key in found.keys() | one.keys() if found.get(key) != one.get(key)}
        assert differing <= OF_THE_CLIENT, (book, {key: (found.get(key), one.get(key)) for key in differing})
        unread = found["unreadable"], one["unreadable"]
        assert len(unread[0]) == len(unread[1]), (book, unread)
        matches += one["matches"]
    assert len(matches) > count
    assert any(one["identifier"] != one["written"] for one in matches)
    for kind in ("tel:", "mailto:"):
        labels = [one["label"] for one in matches if one["identifier"].startswith(kind)]
        assert None in labels
        assert any(labels)


@needs_node
@pytest.mark.slow
def test_a_hundred_books(tmp_path, monkeypatch, served, crowd):
    compared(tmp_path, monkeypatch, served, crowd, seed=1, count=100)
