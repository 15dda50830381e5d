"""`contactsync` with the page of another release: a program for `Process`, as an operator's update is.

Its files say so: the style sheet, the page and its worker, which tells each of them apart.
"""

import hashlib
import re
import sys

from contactsync.commands import main
from contactsync.server import page

MARKS = {
    "index.html": (b"<body>", b'<body data-html="next">'),
    "page/page.js": (b"", b"\ndocument.documentElement.dataset.program='next';"),
    "page/page.css": (b"", b"\n:root{--release:next}"),
}


def next_release() -> dict[str, bytes]:
    """The files of the page, some of them changed, and the service worker that goes with them."""
    files = page.page_files()
    shell = files[page.SHELL_FILE].decode()
    for path, (before, after) in MARKS.items():
        old = files[path]
        assert before in old
        files[path] = old.replace(before, after, 1) if before else old + after
        shell = shell.replace(hashlib.sha256(old).hexdigest(), hashlib.sha256(files[path]).hexdigest())
    files[page.SHELL_FILE] = re.sub(r'"version":"[0-9a-f]{64}"', f'"version":"{"0" * 64}"', shell).encode()
    return files


if __name__ == "__main__":
    from contactsync.server.http import page as served

    files = next_release()
    if "--torn" in sys.argv:  # one file is still of the release before, as with two servers behind one name
        sys.argv.remove("--torn")
        files["page/page.js"] = page.page_files()["page/page.js"]
    served.page_files = lambda: files
    main()
