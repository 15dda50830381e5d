"""The page for people, seen from outside: what a server serves is compared; or the page comes from here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contactsync import __version__
from contactsync.client.state import is_in_clear
from contactsync.client.transport import Transport
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, BadReply, Refused
from contactsync.foundation.route import Route
from contactsync.library.fingerprints import root_fingerprint
from contactsync.library.state import State, canonical_url
from contactsync.server.page import (
    CONTENT_SECURITY_POLICY,
    SERVICE_FILE,
    SERVICE_FORMAT,
    SHELL_FILE,
    PageSettings,
    bundled,
    page_files,
)

_LIMIT: Final = 4 << 20  # octets of a file of the page
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class ServedPage:
    """What a server serves as the page, compared with the one of this version.

    `files`: by path `same`, `differs`, `missing`, or `unprotected` (without its Content-Security-Policy).
    `fingerprint` is of the root that the page trusts, `other` the server that it talks to if that is not
    this one.
    """

    url: str
    files: Mapping[str, str]
    fingerprint: str
    other: str

    @property
    def is_same(self) -> bool:
        """Whether all of it is what this version serves."""
        return not self.other and set(self.files.values()) == {"same"}


def look_at_page(
    url: str, *, ca_file: Path | None = None, proxy: str | None = None, allow_plain_http: bool = False
) -> ServedPage:
    """Fetch the page of a server as a browser does, and compare.

    Raises BadInput, NetworkError, Refused, and BadReply if it does not say which root it trusts.
    """
    url = canonical_url(url)
    if is_in_clear(url) and not allow_plain_http:
        raise BadInput(
            f"{url} is not encrypted: anybody on the way could change the page",
            hint="use https://, or --allow-plain-http if the connection is protected in another way",
        )
    transport = Transport(url, route=Route.to(url, proxy=proxy, ca_file=ca_file))
    try:
        found = {path: _compared(transport, path, content) for path, content in page_files().items()}
        service = _fetch(transport, SERVICE_FILE)
    finally:
        transport.close()
    root, other = _read_service(url, None if service is None else service[0])
    return ServedPage(url, found, root_fingerprint(root), other)


def _compared(transport: Transport, path: str, content: bytes) -> str:
    served = _fetch(transport, path)
    if served is None:
        return "missing"
    body, policy = served
    if body != content:
        return "differs"
    return "same" if policy == CONTENT_SECURITY_POLICY else "unprotected"


def _fetch(transport: Transport, path: str) -> tuple[bytes, str] | None:
    """A file and its policy; None if there is none."""
    try:
        with transport.get("/" if path == "index.html" else f"/{path}") as reply:
            body = b"".join(transport.chunks(reply, _LIMIT))
            return body, reply.headers.get("content-security-policy", "")
    except Refused as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def _read_service(url: str, content: bytes | None) -> tuple[bytes, str]:
    """The root that a page trusts, and the server that it talks to if that is another."""
    try:
        value = json.loads(content or b"")
        if value["format"] == SERVICE_FORMAT and all(
            isinstance(value[name], str) for name in ("root", "url")
        ):
            return value["root"].encode(), "" if value["url"] in {"", url} else value["url"]
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise BadReply(
        f"{url} serves no page that says which root it trusts",
        hint="the operator turns the page on by `serve --web`; an older or newer version may differ",
    )


def write_extension(state: State, url: str, folder: Path, *, name: str = "", label_link: str = "") -> str:
    """Write the page as an unpacked browser extension for a trusted server; the fingerprint of its root.

    The root is the one that is pinned. Raises BadInput, NotTrusted, OurError.
    """
    server = state.server(url)
    root = server.root
    values = {"web_name": name, "web_label_link": label_link}
    settings = PageSettings.take(Path("extension"), dict(values))
    files = {
        **{path: content for path, content in page_files().items() if path != SHELL_FILE},
        "page/extension.js": bundled("page/extension.js"),
        SERVICE_FILE: settings.service(root, server.url),
        "manifest.json": _manifest(server.url, name),
    }
    if folder.exists():
        raise BadInput(f"{folder} is there already, and was not replaced", hint="choose a new folder")
    try:
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            durable.write(folder / path, content, mode=durable.PUBLIC_FILE)
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror}", hint="choose another folder") from error
    return root_fingerprint(root)


def _manifest(url: str, name: str) -> bytes:
    policy = CONTENT_SECURITY_POLICY.replace("connect-src 'self'", f"connect-src 'self' {url}")
    value = {
        "manifest_version": 3,
        "name": f"contactsync: {name}" if name else "contactsync",
        "version": __version__,
        "description": "Which of your contacts are members, without showing your address book.",
        "action": {"default_title": "contactsync"},
        "background": {"service_worker": "page/extension.js"},
        "host_permissions": [f"{url}/*"],
        "content_security_policy": {"extension_pages": policy},
    }
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
