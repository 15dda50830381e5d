"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # it imports numpy and an HTTP library
    from contactsync.library.state import State

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
CREDENTIAL_LIMIT = 4096

state_option = click.option(
    "--state",
    "state_folder",
    type=click.Path(path_type=Path, file_okay=False, readable=False),
    envvar="CONTACTSYNC_STATE",
    metavar="DIR",
    help="Folder of trusted servers and tokens (default: in the user's state folder; CONTACTSYNC_STATE).",
)


def server_option(purpose: str) -> Callable[..., Any]:
    """`--server URL`."""
    return click.option("--server", "url", metavar="URL", help=purpose)


def ca_file_option(purpose: str) -> Callable[..., Any]:
    """`--ca-file FILE`."""
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option("--ca-file", type=path, metavar="FILE", help=purpose)


log_format_option = click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    envvar="CONTACTSYNC_LOG_FORMAT",
    default="text",
    show_default=True,
    help="What the log on stderr is: lines of text, or of JSON (CONTACTSYNC_LOG_FORMAT).",
)
proxy_option = click.option(
    "--proxy",
    metavar="URL",
    help="Connect through this proxy: http://, socks5:// or socks5h:// (Tor). `none` uses no proxy. "
    "Default: HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def open_state(folder: Path | None) -> State:
    """The state in this folder, or in the user's own."""
    from contactsync.library.state import open_state as opened

    return opened(folder)


def read_credential(path: Path) -> str:
    """The credential in a file. Raises BadInput, which never quotes the content."""
    hint = "the file must contain what `contactsync server accounts add` printed, and nothing else"
    try:
        with path.open("rb") as file:
            data = file.read(CREDENTIAL_LIMIT + 1)
    except OSError as error:
        raise BadInput(f"cannot read the credential file {path}: {error.strerror}", hint=hint) from error
    text = data.removeprefix(codecs.BOM_UTF8).decode("ascii", "replace").strip()
    if not re.fullmatch(r"[!-~]{1,4096}", text):
        raise BadInput(f"the credential file {path} does not contain exactly one credential", hint=hint)
    return text


class Duration(click.ParamType[float]):
    """A time in seconds: 90, 30s, 5m, 1h, 7d. It may be 0 only if `zero`, and not below `at_least`."""

    name = "time"

    def __init__(self, *, zero: bool = False, at_least: float = 0) -> None:
        self._zero = zero
        self._at_least = at_least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it, or fail as click does."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*([smhd]?)", str(value).strip().lower())
        if match is None or (float(match[1]) == 0 and not self._zero):
            self.fail(f"{value!r} is not a time such as 90s, 5m or 1h", param, ctx)
        seconds = float(match[1]) * SECONDS[match[2]]
        if seconds < self._at_least:
            self.fail(f"{value!r} is less than {self._at_least:g} seconds", param, ctx)
        return seconds


class Size(click.ParamType[int]):
    """A number of bytes: 500000, 20M, 1.5G (powers of ten)."""

    name = "size"

    def __init__(self, at_least: int = 0) -> None:
        self._at_least = at_least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it, or fail as click does."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)\s*([KMGT]?)B?", str(value).strip().upper())
        if match is None:
            self.fail(f"{value!r} is not a size such as 500000, 20M or 1.5G", param, ctx)
        size = int(float(match[1]) * UNITS[match[2]])
        if size < self._at_least:
            self.fail(f"{value!r} is less than {self._at_least:,} bytes", param, ctx)
        return size
