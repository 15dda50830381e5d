"""`python -m bench web`: a sync of 500 contacts by the JavaScript client, the first and again.

A real `serve --web` process with 1,000,000 members of twelve calling codes, 250 of them in the book, on the
loopback. In Node `ms` is a whole process, from its start to its end. In the page, in Chromium, it is from the
click until the matches are on the screen; `just opened` is a page that was loaded anew, whose worker has
compiled nothing yet. `cpu_ms` is that of the client alone, all its processes and threads (of Chromium also
what it does beside). `least_ms` is what the quickest run took. The others are medians; the cases take turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench import harness
from bench.harness import Row
from bench.server import SETTINGS, Server
from bench.service import make_folder
from contactsync.server.quota import MOST, Terms
from contactsync.server.storage.ports import NewAccount

ROOT = Path(__file__).resolve().parents[1]
CLI = ROOT / "contactsync" / "web" / "bundle" / "contactsync-js.mjs"
DRIVER = ROOT / "tests" / "web" / "browser.mjs"
PACKAGES = ("numba", "numpy")
CREDENTIAL = "cs_bench"
CONTACTS, MATCHED = 500, 250
MOBILE = {
    4915100000000: 8, 447400000000: 8, 12122000000: 6, 33600000000: 8, 34600000000: 8, 31610000000: 7,
    43664000000: 7, 41790000000: 7, 48500000000: 8, 919000000000: 9, 905320000000: 7, 46700000000: 7,
}  # fmt: skip
"""The first number of a range, and how many digits are free in it."""

SYNC = """(async () => {
  const [result, problem] = ['result', 'problem'].map((id) => document.getElementById(id));
  const shown = new Promise((resolve) => {
    const look = () => (result.hidden && problem.hidden) || resolve();
    const what = { attributes: true, subtree: true, attributeFilter: ['hidden'] };
    new MutationObserver(look).observe(document.body, what);
  });
  const begin = performance.now();
  document.querySelector('#go [type=submit]').click();
  await shown;
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  if (!problem.hidden) throw new Error(problem.innerText);
  return [performance.now() - begin, document.getElementById('result-title').innerText];
})()"""
"""Click, and wait until what was found has been painted: milliseconds, and how many."""


@dataclass(slots=True)
class Took:
    """What runs of one case took: milliseconds by the clock, and of CPU."""

    clock: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def row(self, case: str, members: int) -> Row:
        """Medians."""
        return {
            "case": case,
            "members": members,
            "runs": len(self.clock),
            "ms": statistics.median(self.clock),
            "cpu_ms": statistics.median(self.cpu),
            "least_ms": min(self.clock),
        }


def members_of(count: int, rng: np.random.Generator) -> np.ndarray:
    """So many numbers, spread over all ranges."""
    share = -(-count // len(MOBILE))
    parts = [
        first + rng.choice(10**digits, min(share, 10**digits), replace=False)
        for first, digits in MOBILE.items()
    ]
    return np.sort(np.concatenate(parts))[:count].astype(np.uint64)


def book_of(members: np.ndarray, rng: np.random.Generator) -> str:
    """A vCard of each contact, half of them members."""
    there = rng.choice(members, MATCHED, replace=False)
    ranges = list(MOBILE.items())
    drawn = [ranges[i] for i in rng.integers(len(ranges), size=CONTACTS)]
    strangers = [first + int(rng.integers(10**digits)) for first, digits in drawn]
    known = set(members.tolist())
    rest = [one for one in strangers if one not in known][: CONTACTS - MATCHED]
    numbers = rng.permutation([*(int(one) for one in there), *rest])
    cards = (
        f"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Contact {i}\r\nTEL:+{number}\r\nEND:VCARD\r\n"
        for i, number in enumerate(numbers)
    )
    return "".join(cards)


def prepare(path: Path, count: int) -> None:
    """What `server init`, an import, a publish and `accounts add` leave, and beside it the address book."""
    made, rng = make_folder(path), np.random.default_rng(1)
    made.folder.settings_file.write_text(SETTINGS)
    members = members_of(count, rng)
    made.publish(members)
    made.accounts.add_all([NewAccount("bench", "people", CREDENTIAL, Terms("", MOST, MOST))])
    made.registry.close()
    made.accounts.close()
    (path.parent / "book.vcf").write_text(book_of(members, rng))


class Node:
    """Syncs as processes of `contactsync-js`, one after the other on one state."""

    def __init__(self, url: str, folder: Path) -> None:
        self._state = folder / "state"
        credential = folder / "credential"
        credential.write_text(CREDENTIAL + "\n")
        book, root = folder / "book.vcf", folder / "server" / "public" / "metadata" / "1.root.json"
        self._command = [
            *("node", str(CLI), "sync", str(book), "--url", url, "--credential-file", str(credential)),
            *("--root", str(root), "--state", str(self._state), "--json"),
        ]

    def forget(self) -> None:
        """The next sync is the first."""
        shutil.rmtree(self._state, ignore_errors=True)

    def sync(self, took: Took) -> None:
        """One sync, which must find everybody."""
        before, begin = psutil.Process().cpu_times(), time.perf_counter()
        done = subprocess.run(self._command, capture_output=True, text=True, check=False)
        took.clock.append(1e3 * (time.perf_counter() - begin))
        after = psutil.Process().cpu_times()
        user, system = (
            getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system")
        )
        took.cpu.append(1e3 * (user + system))
        if done.returncode or len(json.loads(done.stdout)["matches"]) != MATCHED:
            raise SystemExit(f"a sync in Node failed: {done.stdout[:300]}{done.stderr[:300]}")


class Page:
    """Somebody with Chromium, by the driver of the tests."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._book = url, folder / "book.vcf"
        self._driver = subprocess.Popen(
            ["node", DRIVER, str(shutil.which("chromium"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._visit: int | None = None
        self._tab: int | None = None

    @staticmethod
    def lacks() -> str:
        """What is not there; empty if nothing."""
        if shutil.which("chromium") is None:
            return "Chromium"
        there = (DRIVER.parent / "node_modules" / "playwright-core").is_dir()
        return "" if there else "`npm ci --ignore-scripts` in tests/web"

    def _call(self, name: str, **given: Any) -> Any:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps({"call": name, "given": given}) + "\n")
        self._driver.stdin.flush()
        answer = json.loads(self._driver.stdout.readline())
        if "failed" in answer:
            raise SystemExit(f"the page failed: {answer['failed']}")
        return answer["done"]

    def forget(self) -> None:
        """The next sync is the first: a browser without a past."""
        if self._visit is not None:
            self._call("leave", visit=self._visit)
        self._visit = self._call("visit", locale="en-GB")
        self._tab = self._call("tab", visit=self._visit, url=self._url)
        self._read()

    def open_anew(self) -> None:
        """The same browser, with the page loaded again."""
        self._call("go", tab=self._tab, url=self._url)
        self._read()

    def again(self) -> None:
        """The same page, with the book chosen again."""
        self._call("click", tab=self._tab, selector="#again")
        self._read()

    def _read(self) -> None:
        self._call("files", tab=self._tab, selector="#file", paths=[str(self._book)])
        self._call("wait", tab=self._tab, selector="#check")
        self._call("fill", tab=self._tab, selector="#credential", text=CREDENTIAL)

    def _cpu(self) -> float:
        total = 0.0
        for one in psutil.Process(self._driver.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # of a tab that is closed
                total += sum(one.cpu_times()[:2])
        return 1e3 * total

    def sync(self, took: Took) -> None:
        """From the click until the matches are shown."""
        before = self._cpu()
        milliseconds, title = self._call("evaluate", tab=self._tab, script=SYNC)
        took.clock.append(milliseconds)
        took.cpu.append(self._cpu() - before)
        if not title.startswith(f"{MATCHED} "):
            raise SystemExit(f"the page did not find everybody: {title}")

    def close(self) -> None:
        """End the browser."""
        with self._driver:
            assert self._driver.stdin is not None
            self._driver.stdin.close()
            self._driver.wait(20)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a server with the page."""
    server = Server(
        "serve",
        1,
        ["-m", "contactsync", "server", "serve", "--web", "--port", "0", "--data", str(folder / "server")],
    )
    try:
        server.wait()
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


def measure(folder: Path, members: int, rounds: int) -> list[Row]:
    """Take turns: a first sync, and two again, of each."""
    cases: dict[str, Took] = {}
    with ExitStack() as stack:
        url = stack.enter_context(served(folder))
        node = Node(url, folder)
        page = None
        if not Page.lacks():
            page = Page(url, folder)
            stack.callback(page.close)

        for _ in range(rounds):
            node.forget()
            node.sync(cases.setdefault("Node, first", Took()))
            for _again in range(2):
                node.sync(cases.setdefault("Node, again", Took()))
            if page is None:
                continue
            page.forget()
            page.sync(cases.setdefault("page, first", Took()))
            for _again in range(2):
                page.again()
                page.sync(cases.setdefault("page, again", Took()))
            page.open_anew()
            page.sync(cases.setdefault("page just opened, again", Took()))
    return [took.row(case, members) for case, took in cases.items()]


def run(folder: Path, *, quick: bool) -> list[Row]:
    """All rows."""
    members, rounds = (100_000, 2) if quick else (1_000_000, 7)
    prepare(folder / "server", members)
    return measure(folder, members, rounds)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench web", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put the table into the web section of a document")
    parser.add_argument("--quick", action="store_true", help="fewer members and rounds, within 60 s")
    options = parser.parse_args(arguments)
    if shutil.which("node") is None:
        raise SystemExit("needs Node 20")
    if lacks := Page.lacks():
        print(f"without the page: needs {lacks}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-") as folder:
        rows = run(Path(folder), quick=options.quick)
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    where = f"Node {node}; {harness.environment(PACKAGES)}"
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "web", f"{where}\n\n{harness.markdown(rows)}")
