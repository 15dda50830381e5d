"""The page, as pictures for docs/: `python tests/page_screens.py docs/screens`.

A real server, a real browser, and the example address book of `contactsync demo`.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "web"), str(ROOT / "tests" / "server")]

from javascript import CREDENTIAL  # noqa: E402
from PIL import Image  # noqa: E402
from server_tools import Operator, Process  # noqa: E402
from visiting import Browser, Visitor, cards  # noqa: E402

from contactsync import Server  # noqa: E402

WIDE, NARROW = {"width": 1280, "height": 1000}, {"width": 375, "height": 812}
VIEWS = [("wide", "en-GB", WIDE, "light"), ("phone", "de-DE", NARROW, "dark")]
PEOPLE = {
    "Jonas Vogt": "+49 30 23125014", "Petra Lindner": "0176 04069018", "Grace Pemberton": "+44 20 7946 0125",
    "Maya Rodriguez": "+1 212 555 0131", "Noah Singh": "+1 604 555 0137", "Ciarán Doyle": "+353 20 911 0162",
    "Matilda Hughes": "+61 491 570 156", "نور حداد": "+961 20 555018", "Дарья Орлова": "+49 151 00000001",
    "Ingrid Holm": "+46 70 1740655", "Tobias Falk": "+49 69 90009196", "Anna Krüger": "+49 151 00000002",
    "Ben Albers": "+49 151 00000003", "Emergency": "110", "Office": "ask for Kim",
}  # fmt: skip
HERE = (493023125014, 4917604069018, 442079460125, 12125550131, 96120555018, 4915100000001, 46701740655)

HANDLES = [
    f"@{one}:example.org" for one in ("jonas.vogt", "petra.l", "grace", "maya.r", "nour", "darja", "ingrid")
]


def take(person: Visitor, path: Path) -> None:
    """What the screen shows, in few colours: the file is small."""
    person.evaluate(script="scrollTo(0, 0)")
    person.screenshot(path=str(path), whole=False)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(112, dither=Image.Dither.NONE).save(path, optimize=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        operator = Operator(Path(place) / "server")
        operator.accounts.add("person", "people", CREDENTIAL)
        operator.add(*HERE)
        labels = {f"+{number}": handle for number, handle in zip(HERE, HANDLES, strict=True)}
        Server(operator.folder.path).members.label(labels)
        operator.publish()
        settings = operator.folder.settings_file
        link = 'web_label_link = "https://matrix.to/#/{label}"\n'
        settings.write_text('web_name = "Example Messenger"\n' + link + settings.read_text())
        book = cards(Path(place) / "contacts.vcf", PEOPLE)
        browser = Browser()
        with Process(operator.folder.path, "--web") as process:
            for name, locale, viewport, mode in VIEWS:
                person = Visitor(browser, process.url, locale=locale, viewport=viewport, colorScheme=mode)
                take(person, folder / f"page-{name}-choose.png")
                person.read(book)
                take(person, folder / f"page-{name}-check.png")
                person.start(CREDENTIAL)
                person.wait("#result")
                take(person, folder / f"page-{name}-result.png")
                person.close()
        browser.close()
        operator.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
