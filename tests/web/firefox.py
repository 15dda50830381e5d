"""Debian's Firefox, driven by WebDriver BiDi without a library: the calls of `browser.mjs` that it needs."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import connect

FIREFOX = shutil.which("firefox-esr") or ""
PREFERENCES = {
    "remote.active-protocols": 1,  # WebDriver BiDi
    "intl.accept_languages": "en-GB",
    "app.normandy.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.enabled": False,
}
# As `observe` in browser.mjs.
OBSERVE = """() => {
  globalThis.__violations = [];
  addEventListener('securitypolicyviolation', (event) =>
    globalThis.__violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
}"""
OWN = 'Error: Permission denied to access property "length"'
"""What Firefox itself says while it opens a tab, of a page without any script, too, if the machine is busy.

It has no stack then, as an error of a page would have.
"""
SECONDS = 60


def require() -> None:
    """Skip where there is no Firefox. `.ci/run` sets CONTACTSYNC_CI, and there it is a failure."""
    if not FIREFOX:
        reason = "THE PAGE IS NOT TESTED IN FIREFOX: apt-get install firefox-esr"
        if os.environ.get("CONTACTSYNC_CI"):
            pytest.fail(reason)
        pytest.skip(reason)


class Firefox:
    """One Firefox. A visit is a user context, with its own storage."""

    def __init__(self) -> None:
        self.last = 0
        self.seen_in: dict[str, dict[str, list[str]]] = {}
        with ExitStack() as stack:
            self._begin(stack)
            self._opened = stack.pop_all()

    def _begin(self, stack: ExitStack) -> None:
        profile = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()
        )
        (profile / "user.js").write_text("".join(lines))
        self.log = profile / "log"
        command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile)]
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [*command, "--remote-debugging-port", "0"], stdout=subprocess.DEVNULL, stderr=log
            )
        stack.callback(self._end)
        self.socket = stack.enter_context(connect(f"{self._address()}/session", max_size=None))
        self._send("session.new", capabilities={})
        self._send("session.subscribe", events=["network.beforeRequestSent", "log.entryAdded"])

    def _address(self) -> str:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.popen.poll() is None:
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", self.log.read_text()):
                return found[1]
            time.sleep(0.1)
        raise AssertionError(f"Firefox does not listen: {self.log.read_text()}")

    def close(self) -> None:
        self._opened.close()

    def _end(self) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(20)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def _send(self, method: str, **params):
        self.last += 1
        self.socket.send(json.dumps({"id": self.last, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(SECONDS))
            if message.get("id") == self.last:
                assert message["type"] == "success", message
                return message["result"]
            self._note(message)

    def _note(self, message) -> None:
        params = message.get("params", {})
        if message.get("method") == "network.beforeRequestSent":
            seen = self.seen_in.get(params["context"])
            request = params["request"]
            if seen and not request["url"].startswith("data:"):  # a font that Firefox itself has
                seen["requests"].append(f"{request['method']} {request['url']}")
        elif message.get("method") == "log.entryAdded":
            seen = self.seen_in.get(params["source"].get("context"))
            if seen:
                is_policy = params["text"].startswith("Content-Security-Policy: ")  # among `violations`
                is_error = params["type"] == "javascript" and params["level"] == "error" and not is_policy
                if is_error and params["text"] == OWN and "stackTrace" not in params:
                    return
                kind = "uncaught" if is_error else params["level"]
                seen["console"].append(f"{kind}: {params['text']}")

    def call(self, name: str, **given):
        """One of those below, as `Visitor` asks for them."""
        return getattr(self, f"on_{name}")(**given)

    def on_visit(self, locale: str) -> str:
        assert locale == PREFERENCES["intl.accept_languages"]
        visit = self._send("browser.createUserContext")["userContext"]
        self._send("script.addPreloadScript", functionDeclaration=OBSERVE, userContexts=[visit])
        return visit

    def on_leave(self, visit: str) -> None:
        self._send("browser.removeUserContext", userContext=visit)

    def on_tab(self, visit: str, url: str | None = None) -> str:
        tab = self._send("browsingContext.create", type="tab", userContext=visit)["context"]
        self.seen_in[tab] = {"requests": [], "console": []}
        if url:
            self.on_go(tab, url)
        return tab

    def on_go(self, tab: str, url: str) -> None:
        self._send("browsingContext.navigate", context=tab, url=url, wait="complete")
        self.on_wait(tab, "html[data-ready]")

    def on_evaluate(self, tab: str, script: str):
        done = self._send(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({script})) ?? null))()",
            target={"context": tab},
            awaitPromise=True,
        )
        assert done["type"] == "success", done
        return json.loads(done["result"]["value"])

    def _of(self, tab: str, selector: str, what: str):
        """An expression of all elements that a selector finds: `all`."""
        return self.on_evaluate(
            tab, f"((all) => {what})([...document.querySelectorAll({json.dumps(selector)})])"
        )

    def on_visible(self, tab: str, selector: str) -> bool:
        return self._of(tab, selector, "all.some((one) => one.checkVisibility())")

    def on_text(self, tab: str, selector: str) -> str:
        return self._of(tab, selector, "all[0].innerText")

    def on_texts(self, tab: str, selector: str) -> list[str]:
        return self._of(tab, selector, "all.map((one) => one.innerText)")

    def on_wait(self, tab: str, selector: str, text: str = "") -> None:
        """Until it is visible, with this text in it."""
        shown = f"all.some((one) => one.checkVisibility() && one.innerText.includes({json.dumps(text)}))"
        deadline = time.monotonic() + SECONDS
        while not self._of(tab, selector, shown):
            assert time.monotonic() < deadline, (selector, text, self.on_text(tab, "body"))
            time.sleep(0.05)

    def _element(self, tab: str, selector: str):
        found = self._send(
            "browsingContext.locateNodes", context=tab, locator={"type": "css", "value": selector}
        )
        return {"sharedId": found["nodes"][0]["sharedId"]}

    def on_click(self, tab: str, selector: str) -> None:
        self.on_wait(tab, selector)
        self._of(tab, selector, "all[0].scrollIntoView({ block: 'center', behavior: 'instant' })")
        origin = {"type": "element", "element": self._element(tab, selector)}
        moves = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": moves}
        self._send("input.performActions", context=tab, actions=[mouse])

    def on_fill(self, tab: str, selector: str, text: str) -> None:
        self._of(tab, selector, "(all[0].focus(), all[0].select())")
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._send(
            "input.performActions", context=tab, actions=[{"type": "key", "id": "keys", "actions": keys}]
        )

    def on_choose(self, tab: str, selector: str, value: str) -> None:
        self._of(
            tab,
            selector,
            f"((all[0].value = {json.dumps(value)}), all[0].dispatchEvent(new Event('change')))",
        )

    def on_files(self, tab: str, selector: str, paths: list[str]) -> None:
        self._send("input.setFiles", context=tab, element=self._element(tab, selector), files=paths)

    def on_seen(self, tab: str):
        return {**self.seen_in[tab], "violations": self.on_evaluate(tab, "globalThis.__violations")}
