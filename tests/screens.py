"""What a terminal shows, as pictures for docs/: `python tests/screens.py docs/screens`.

Real commands run on a real terminal (a pty) against the simulated service. A test makes the text again and
compares it with what is in the pictures.
"""

import contextlib
import fcntl
import html
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

COLUMNS = 92
WORK, CLUB = "https://contacts.work.example", "https://club.example"
BOOK = """name,phone
Anna Müller,+49 151 2345671
Bodo,+49 151 2345672
Bodo,+44 7911 123456
نور حداد,+49 151 2345673
陳大文,+44 7911 123457
Maximiliane Freifrau von Hohenstein-Lichtenwald (Sparkasse Niederbayern-Mitte),+49 151 2345674
Dora,
"""
AT_WORK = ("+491512345671", "+447911123456", "+491512345673", "+447911123457", "+491512345674")
AT_THE_CLUB = ("+491512345671", "+447911123457")


class Emulator:
    """As much of a terminal as progress lines and tables need: text, colours, and lines that are wiped."""

    def __init__(self):
        self.rows, self.row = [""], 0

    def feed(self, text):
        for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if piece == "\n":
                self.row += 1
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif piece == "\x1b[K":
                self.rows[self.row] = ""
            elif up := re.fullmatch(r"\x1b\[(\d+)A", piece):
                self.row -= int(up[1])
            elif piece != "\r":
                self.rows[self.row] += piece

    def text(self):
        return "\n".join(self.rows).rstrip("\n") + "\n"


def on_terminal(arguments, environment, *, columns=COLUMNS, raw=False):
    """What a command leaves on a terminal of this width; its exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment}
    environment = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    command = [sys.executable, "-m", "contactsync", *map(str, arguments)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        pieces = []
        with contextlib.suppress(OSError):  # the end of a pty
            while piece := os.read(master, 65536):
                pieces.append(piece)
    os.close(master)
    output = b"".join(pieces).decode()
    if raw:
        return output, process.returncode
    emulator = Emulator()
    emulator.feed(output)
    return emulator.text(), process.returncode


def screens(desk):
    """Each picture: its name, and commands with what they show, at a desk of configured_desk.py."""
    desk.book.write_text(BOOK, encoding="utf-8")
    desk.work.publish(*AT_WORK)
    desk.club.publish(*AT_THE_CLUB)
    nothing = {
        "CONTACTSYNC_STATE": str(desk.folder / "none"),
        "CONTACTSYNC_CONFIG": "/nonexistent/config.toml",
    }
    bare = {"CONTACTSYNC_STATE": str(desk.state), "XDG_CONFIG_HOME": "/nonexistent"}
    shown = f"sync book.csv --server {WORK} --credential-file credential --region DE"
    first = ["sync", desk.book, "--server", desk.work.url, "--region", "DE"]
    first += ["--credential-file", desk.folder / "work.credential"]

    def run(shown, arguments, environment):
        text, _ = on_terminal(arguments, environment)
        for there, example in ((desk.work.url, WORK), (desk.club.url, CLUB), (str(desk.book), "book.csv")):
            text = text.replace(there, example)
        return shown, re.sub(r"edition \d+", "edition 1", text)

    yield "start", [run("", [], nothing)]
    yield "sync", [run(shown, first, bare)]
    yield "several", [run("sync", ["sync"], desk.environment())]
    name = "anna"
    found = run(f"search {name}", ["search", name], desk.environment())
    yield (
        "search",
        [(found[0], re.sub(r"synced .*? ago\)", "synced 2026-01-31 18:20 (2 h 5 min ago)", found[1]))],
    )


def picture(name, commands):
    """The SVG of a screen."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False
    )
    for shown, text in commands:
        console.print(Text(f"$ contactsync {shown}".rstrip(), style="bold green"))
        console.print(Text.from_ansi(text.rstrip("\n")), overflow="fold")
    return console.export_svg(title="contactsync", unique_id=f"contactsync-{name}")


def words(svg):
    """All text of a picture, without its layout."""
    body = svg.partition("</defs>")[2]
    return html.unescape(re.sub(r"<[^>]*>", " ", body)).replace("\xa0", " ").split()


def main(folder):
    from configured_desk import ConfiguredDesk
    from simulated_service import Service, listen

    with tempfile.TemporaryDirectory() as name:
        services = []
        for service in ("work-service", "club-service"):
            (Path(name) / service).mkdir()
            services.append(Service(Path(name) / service))
            listen(services[-1])
        desk = ConfiguredDesk(Path(name), *services)
        desk.trust()
        for screen, commands in screens(desk):
            (Path(folder) / f"{screen}.svg").write_text(picture(screen, commands), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
