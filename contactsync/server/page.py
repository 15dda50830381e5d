"""The page for people (docs/web.md): what an operator says of it, and the files that it consists of.

Its files are those of the release, the same on every server. What differs is one file more, `service.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

from contactsync.foundation.errors import BadInput, OurError

_SERVED: Final = "web_page"
_NAME: Final = "web_name"
_LINK: Final = "web_label_link"

SETTINGS: Final = (_SERVED, _NAME, _LINK)
"""The settings' names in server.toml."""

ABOUT_PAGE: Final = (
    "Whether people get a page at / on which they choose their address book and see who is here, as with"
    " `serve --web`; what it calls your service; and where the label of a match leads, if anywhere: {label}"
    " stands for it, and the scheme is https, matrix, xmpp or mailto."
)
EXAMPLES: Final = (
    f"{_SERVED} = true",
    f'{_NAME} = "Example Messenger"',
    f'{_LINK} = "https://matrix.to/#/{{label}}"',
)

ROOT_FILE: Final = "1.root.json"
"""The root that the page gets: the first, which never changes. From it, a client follows to later ones."""

SERVICE_FORMAT: Final = "contactsync-service-1"
_MAX_NAME: Final = 80
_JAVASCRIPT: Final = "text/javascript; charset=utf-8"
_TEMPLATE: Final = re.compile(
    r"(https://[a-z0-9.-]+(:[0-9]{1,5})?/|matrix:|xmpp:|mailto:)[\x21\x23-\x3b\x3d\x3f-\x5b\x5d-\x7a~]*"
    r"\{label\}[\x21\x23-\x3b\x3d\x3f-\x5b\x5d-\x7a~]*"
)

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self';"
    " worker-src 'self'; img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types contactsync-worker"
)
"""What a browser lets the page do: nothing inline, nothing from elsewhere, no text that becomes markup.

`wasm-unsafe-eval` lets WebAssembly run, which is libsodium here, and no text that becomes JavaScript.
"""

SHELL_FILE: Final = "shell.js"
"""The service worker, which keeps the other files. Beside `/`: a browser lets it answer below its path.

An extension has none: its files are on the device.
"""

FILES: Final[Mapping[str, tuple[str, str]]] = {
    "index.html": ("page/index.html", "text/html; charset=utf-8"),
    "page/page.css": ("page/page.css", "text/css; charset=utf-8"),
    "page/page.js": ("page/page.js", _JAVASCRIPT),
    "page/worker.js": ("page/worker.js", _JAVASCRIPT),
    "page/contactsync.mjs": ("contactsync.mjs", _JAVASCRIPT),
    "page/contactsync-sodium.mjs": ("contactsync-sodium.mjs", _JAVASCRIPT),
    "page/icon.svg": ("page/icon.svg", "image/svg+xml"),
    SHELL_FILE: ("page/shell.js", _JAVASCRIPT),
}
"""By path on the server: the file of the package, and its media type."""

SERVICE_FILE: Final = "page/service.json"
"""The path of what the operator says."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What an operator says of the page. `label_link` empty: labels are shown as text."""

    is_served: bool = False
    name: str = ""
    label_link: str = ""

    @classmethod
    def take(cls, path: Path, values: MutableMapping[str, Any]) -> Self:
        """Take these settings out of those of a file. Raises BadInput."""
        is_served = values.pop(_SERVED, False)
        if not isinstance(is_served, bool):
            raise BadInput(f"{path}: {_SERVED} must be true or false", hint="correct the file")
        name = values.pop(_NAME, "")
        if not isinstance(name, str) or len(name) > _MAX_NAME or not name.isprintable():
            raise BadInput(
                f"{path}: {_NAME} must be a text of at most {_MAX_NAME} characters in one line",
                hint="correct the file",
            )
        link = values.pop(_LINK, "")
        if not isinstance(link, str) or (link and not _TEMPLATE.fullmatch(link)):
            raise BadInput(
                f"{path}: {_LINK} is not a link with {{label}} in it",
                hint="write it like https://matrix.to/#/{label}, behind the host; schemes are https, matrix,"
                " xmpp and mailto",
            )
        return cls(is_served, name, link)

    def service(self, root: bytes, url: str = "") -> bytes:
        """The file `service.json`. `root`: what the page trusts. `url`: empty if it is the page's own."""
        value = {
            "format": SERVICE_FORMAT,
            "name": self.name,
            "label_link": self.label_link,
            "url": url,
            "root": root.decode(),
        }
        return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def page_files() -> dict[str, bytes]:
    """The files of the page by their path, as this version has them. Raises OurError if one is missing."""
    return {path: bundled(name) for path, (name, _) in FILES.items()}


def bundled(name: str) -> bytes:
    """A file of the bundle. Raises OurError if it is missing."""
    try:
        return (files("contactsync") / "web" / "bundle" / name).read_bytes()
    except OSError:
        raise OurError("the page is not in this installation", hint="install contactsync again") from None
