"""What Lighthouse says of the page: of what it is, never of how long it takes on this machine."""

import json
import os
import subprocess
import tempfile

import pytest
import visiting

pytestmark = pytest.mark.slow
LIGHTHOUSE = visiting.HERE / "node_modules" / "lighthouse" / "cli" / "index.js"
FLAGS = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
WHOLE = ("accessibility", "best-practices", "seo")
MOST_OCTETS = 400_000
"""Of the whole page, compressed, before an address book is chosen; half of it is libsodium."""


ATTEMPTS = 3
"""A browser that does not start or draw in time is the fault of the machine, and gives no report."""


def judged(url, folder, *options):
    visiting.require()
    output = folder / "lighthouse.json"
    for _ in range(ATTEMPTS):
        # The browser's socket is below it, and its path has at most 107 characters: a test's folder is long.
        with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as short:
            done = subprocess.run(
                ["node", LIGHTHOUSE, url, "--quiet", "--output=json", f"--output-path={output}",
                 f"--chrome-flags={FLAGS}", "--no-enable-error-reporting", *options],
                env=os.environ | {"CHROME_PATH": visiting.CHROMIUM, "TMPDIR": short},
                check=False, capture_output=True, text=True, timeout=180,
            )  # fmt: skip
        if done.returncode == 0:
            return json.loads(output.read_text())
    pytest.fail(f"Lighthouse judged nothing: {done.stderr}")


@pytest.mark.parametrize("options", [(), ("--preset=desktop",)], ids=["phone", "desktop"])
def test_lighthouse_has_nothing_against_it(unchanged, tmp_path, options):
    report = judged(unchanged.url, tmp_path, *options)
    audits = report["audits"]
    wrong = {name: audits[one["id"]]["title"]
             for name in WHOLE for one in report["categories"][name]["auditRefs"]
             if audits[one["id"]]["score"] not in {1, None}}  # fmt: skip
    assert wrong == {}
    assert audits["cumulative-layout-shift"]["numericValue"] < 0.1, "words came after the first picture"
    assert 0 < audits["total-byte-weight"]["numericValue"] < MOST_OCTETS
    asked = {one["url"] for one in audits["network-requests"]["details"]["items"]}
    assert all(one.startswith((unchanged.url, "data:")) for one in asked), asked
