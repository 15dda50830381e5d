"""Somebody who opens the page in a real browser: Debian's Chromium, driven by `browser.mjs`."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from javascript import has_node

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or ""

# All that the page keeps in IndexedDB: names and values.
DUMP = """(async () => {
  const found = [];
  for (const { name } of await indexedDB.databases()) {
    const database = await new Promise((done) => {
      const request = indexedDB.open(name);
      request.onsuccess = () => done(request.result);
    });
    for (const table of database.objectStoreNames) {
      const store = database.transaction(table).objectStore(table);
      const ask = (request) => new Promise((done) => { request.onsuccess = () => done(request.result); });
      const [keys, values] = [await ask(store.getAllKeys()), await ask(store.getAll())];
      const text = (value) => (value.buffer ? new TextDecoder().decode(value) : String(value));
      keys.forEach((key, i) => found.push([key, text(values[i])]));
    }
    database.close();
  }
  return found;
})()"""


def why_not() -> str:
    """What the tests of the page lack here; empty if nothing."""
    if not has_node():
        return "needs Node 20"
    if not (HERE / "node_modules" / "playwright-core").is_dir():
        return "needs `npm ci --ignore-scripts` in tests/web"
    return "" if CHROMIUM else "needs Chromium: apt-get install chromium"


def require() -> None:
    """Skip where there is no browser. `.ci/run` sets CONTACTSYNC_CI, and there it is a failure."""
    if reason := why_not():
        if os.environ.get("CONTACTSYNC_CI"):
            pytest.fail(f"THE PAGE IS NOT TESTED: {reason}")
        pytest.skip(f"THE PAGE IS NOT TESTED: {reason}")


class Browser:
    """One Chromium, for all tests of a session."""

    def __init__(self) -> None:
        self.popen = subprocess.Popen(
            ["node", HERE / "browser.mjs", CHROMIUM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name, **given):
        self.popen.stdin.write(json.dumps({"call": name, "given": given}) + "\n")
        self.popen.stdin.flush()
        line = self.popen.stdout.readline()
        assert line, "the browser has ended"
        answer = json.loads(line)
        assert "failed" not in answer, answer["failed"]
        return answer["done"]

    def close(self) -> None:
        self.popen.stdin.close()
        try:
            self.popen.wait(20)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.popen.stdout.close()


class Visitor:
    """Somebody with a browser of their own, and one tab or more."""

    def __init__(
        self, browser: Browser, url: str, *, ready: bool = True, visit: int | None = None, **options
    ) -> None:
        """`ready` False: with an empty tab, for who wants to meddle first and `reload` then.

        `visit`: of a browser that is there already.
        """
        self.browser, self.url = browser, url
        self.visit = browser.call("visit", **{"locale": "en-GB", **options}) if visit is None else visit
        self.tab = self.open() if ready else browser.call("tab", visit=self.visit)

    def open(self) -> int:
        """Another tab; it becomes the one that is used."""
        self.tab = self.browser.call("tab", visit=self.visit, url=self.url)
        return self.tab

    def leave_tab(self) -> None:
        self.browser.call("leaveTab", tab=self.tab)

    def close(self) -> None:
        self.browser.call("leave", visit=self.visit)

    def __getattr__(self, name):
        return lambda selector=None, **given: self.browser.call(
            name, tab=self.tab, **({"selector": selector} if selector else {}), **given
        )

    def reload(self, url: str | None = None) -> None:
        self.url = url or self.url
        self.browser.call("go", tab=self.tab, url=self.url)

    def offline(self, off: bool) -> None:
        self.browser.call("offline", visit=self.visit, off=off)

    def meddle(self, path: str, **how) -> None:
        """Answer requests for a path with a `text`, cut them, or `hold` them until `behave`."""
        self.browser.call("meddle", visit=self.visit, path=path, **how)

    def behave(self) -> None:
        """Meddle no more."""
        self.browser.call("behave", visit=self.visit)

    def posts(self) -> int:
        """How many batches this tab has sent."""
        return sum(one.startswith("POST ") for one in self.seen()["requests"])

    def read(self, path: Path, *, region: str | None = "DE") -> None:
        """Choose an address book, and wait until it is read."""
        if region is not None:
            self.choose("#region", value=region)
        self.files("#file", paths=[str(path)])
        self.wait("#check")

    def start(self, credential: str | None) -> None:
        if credential is not None:
            self.fill("#credential", text=credential)
        self.click("#go [type=submit]")

    def sync(self, path: Path, credential: str | None, **options) -> list[str]:
        """Who is here, by name."""
        self.read(path, **options)
        self.start(credential)
        self.wait("#result, #problem:not([hidden])")
        assert not self.visible("#problem"), self.text("#problem")
        return self.texts("#matches .name bdi")

    def refused(self) -> str:
        """What the page says went wrong."""
        self.wait("#problem h2")
        return self.text("#problem h2")

    def again(self) -> None:
        self.click("#again")
        self.wait("#choose")


def cards(path: Path, people: dict[str, str]) -> Path:
    """An address book: number by name."""
    text = "".join(
        f"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:{name}\r\nTEL:{tel}\r\nEND:VCARD\r\n"
        for name, tel in people.items()
    )
    path.write_text(text)
    return path


def judged(browser: Browser):
    """Make visitors of a URL, each with a browser of their own. What they saw is judged at the end."""
    made = []

    def visitor(url: str, **options) -> Visitor:
        made.append(Visitor(browser, url, **options))
        return made[-1]

    yield visitor
    seen = [one.seen() for one in made]
    for one in made:
        one.close()
    for one, what in zip(made, seen, strict=True):
        assert what["violations"] == [], f"its policy was violated: {what['violations']}"
        uncaught = [line for line in what["console"] if line.startswith("uncaught")]
        assert uncaught == [], f"errors that nobody caught: {uncaught}"
        others = [line for line in what["requests"] if not line.split()[1].startswith((one.url, "blob:"))]
        assert others == [], f"it asked somebody else: {others}"
