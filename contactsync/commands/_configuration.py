"""The configuration file: what `sync` would otherwise be told on each command line.

TOML, in the user's configuration folder, or where `--config` or CONTACTSYNC_CONFIG says. Nothing in it is a
secret: it names where credentials are. A fault is an error that names the file, the table and the key.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from contactsync.commands._credentials import CredentialCommand, CredentialFile, CredentialOfKeyring
from contactsync.commands._credentials import CredentialPlace as Place
from contactsync.commands._reading import KINDS
from contactsync.foundation.errors import BadInput

SETTINGS: Final = (
    *("audience", "privacy", "partitions", "max_download", "buckets", "cover", "leak_budget", "timeout"),
    *("proxy", "labels", "label_template"),
)
"""Options of `sync` that may be set for all servers, and for each; types and choices are those of `sync`."""

CHOICES: Final = {"area_code": "area_code", "group": "groups", "only": "only", "exclude": "exclude"}
"""How address books are read, for all and for each: keys, and what `sync` calls their options."""

_GENERAL: Final = ("region", "keep_results", "server", "source", *CHOICES, *SETTINGS)
_CREDENTIALS: Final = ("credential_file", "credential_command", "credential_keyring")
_SERVER: Final = ("url", *_CREDENTIALS, "ca_file", *SETTINGS)
_ACCESS: Final = ("password_file", "password_command", "auth", "ca_file", "allow_plain_http")
_SOURCE: Final = ("path", "url", *_ACCESS, *CHOICES)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LARGEST: Final = 1 << 20
Value = TypeVar("Value")

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CONTACTSYNC_CONFIG",
    metavar="FILE",
    help="Configuration file (default: in the user's configuration folder; CONTACTSYNC_CONFIG).",
)


@dataclass(frozen=True, slots=True)
class ConfiguredServer:
    """`[server.NAME]`: a server to ask, where the credential is, and settings of its own."""

    name: str
    url: str
    credential: Place | None = None
    ca_file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfiguredSource:
    """`[source.NAME]`: a file or folder, or the address of an account (`url`) and how to sign in there."""

    name: str
    address: str
    is_remote: bool = False
    access: Mapping[str, Any] = field(default_factory=dict)
    """Options of `sync` for this account: password_file, password_command, auth, ca_file, ...."""
    choices: Mapping[str, Any] = field(default_factory=dict)
    """Options of `sync` for how this one is read: area_code, groups, only, exclude."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says; without a file nothing. Paths are absolute."""

    path: Path
    exists: bool = False
    region: str | None = None
    keep_results: bool = True
    servers: Mapping[str, ConfiguredServer] = field(default_factory=dict)
    sources: Mapping[str, ConfiguredSource] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def url_of(self, server: str) -> str:
        """The address of a server that is given by its name in the file, or by its address."""
        named = self.servers.get(server)
        if named is None and "://" not in server:
            known = f"it has: {', '.join(self.servers)}" if self.servers else "give its address: https://…"
            raise BadInput(f"no server in the configuration is named {server!r}", hint=known)
        return server if named is None else named.url

    def name_of(self, url: str) -> str:
        """The name of a server in the file; else its address without the scheme."""
        names = (one.name for one in self.servers.values() if one.url == url)
        return next(names, url.partition("://")[2])


def default_path() -> Path:
    """Where the file is looked for."""
    import platformdirs

    return Path(platformdirs.user_config_dir("contactsync")) / "config.toml"


def load(path: Path | None, options: Iterable[click.Parameter] = ()) -> Configuration:
    """Read the file. `options` are those of `sync`, which say what a setting may be.

    Raises BadInput. That there is no file is an error only if a `path` is given.
    """
    where = default_path() if path is None else path
    try:
        with where.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        if path is None:
            return Configuration(where)
        hint = "check its name, or write one with `contactsync config init`"
        raise BadInput(f"there is no configuration file {where}", hint=hint) from error
    except OSError as error:
        raise BadInput(f"cannot read {where}: {error.strerror}", hint="check its permissions") from error
    if len(data) > _LARGEST:
        raise BadInput(f"{where} is too large for a configuration", hint="check that it is the right file")
    try:
        value = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is not UTF-8 text", hint="save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error).partition(" (at ")
        place = reason[2].rstrip(")") if reason[1] else "somewhere"
        raise BadInput(
            f"{where}: {reason[0][:1].lower()}{reason[0][1:]}, at {place}",
            hint='the file is TOML: text stands in quotation marks, as in region = "DE"',
        ) from error
    return _ConfigurationReader(where, options).read(value)


def load_settings(path: Path | None) -> Configuration:
    """`load`, with the options of `sync`."""
    from contactsync.commands.sync import sync

    return load(path, sync.params)


def named_url(server: str, path: Path | None) -> str:
    """The address of a server that is given by it, or by its name in the configuration."""
    return server if "://" in server else load_settings(path).url_of(server)


class _ConfigurationReader:
    """Turns tables into a configuration, and says where something is wrong."""

    def __init__(self, path: Path, options: Iterable[click.Parameter]) -> None:
        self._path = path
        self._types = {one.name: one.type for one in options}

    def read(self, value: dict[str, Any]) -> Configuration:
        table = _TableOfFile(self._path, "", value, _GENERAL)
        region = table.get("region", _is_text, 'text such as "DE"')
        if region is not None:
            region = self._region(table, region)
        return Configuration(
            self._path,
            exists=True,
            region=region,
            keep_results=table.get("keep_results", _is_flag, "true or false", True),
            servers={one.name: one for one in map(self._server, self._tables(table, "server", _SERVER))},
            sources={one.name: one for one in map(self._source, self._tables(table, "source", _SOURCE))},
            settings=self._settings(table) | self._choices(table),
        )

    def _choices(self, table: _TableOfFile) -> dict[str, Any]:
        """How books are read, and who of them is looked up, as options of `sync`."""
        found: dict[str, Any] = {}
        code = table.get("area_code", _is_text, 'text such as "030"')
        if code is not None:
            found[CHOICES["area_code"]] = code
        for key in ("group", "only", "exclude"):
            value = table.get(key, _is_text_or_list, 'text, or a list such as ["Family", "Choir"]')
            if value is not None:
                texts = [value] if isinstance(value, str) else value
                found[CHOICES[key]] = tuple(
                    one if key == "group" or one in KINDS else str(self._file(one)) for one in texts
                )
        return found

    def _region(self, table: _TableOfFile, region: str) -> str:
        from contactsync.library.identifying import check_region

        try:
            return check_region(region)
        except BadInput as error:
            raise table.fault("region", str(error), error.hint) from error

    def _tables(self, table: _TableOfFile, kind: str, keys: tuple[str, ...]) -> list[_TableOfFile]:
        found = table.get(kind, _is_table, f"a table such as [{kind}.home]", {})
        for name, one in found.items():
            if not isinstance(one, dict):
                raise table.fault(kind, f"{name!r} is not a table", f"write [{kind}.NAME], then its keys")
            if not _NAME.fullmatch(name):
                hint = "a name has letters, digits, - and _, at most 40"
                raise table.fault(kind, "a table has an unusable name", hint)
        return [_TableOfFile(self._path, f"{kind}.{name}", one, keys) for name, one in found.items()]

    def _server(self, table: _TableOfFile) -> ConfiguredServer:
        from contactsync.library.state import canonical_url

        url = table.get("url", _is_text, "text")
        if url is None:
            raise table.fault("url", "missing", 'write url = "https://…", the address of the server')
        try:
            url = canonical_url(url)
        except BadInput as error:
            raise table.fault("url", str(error), error.hint) from error
        ca_file = table.get("ca_file", _is_text, "the name of a file")
        return ConfiguredServer(
            table.name.partition(".")[2],
            url,
            self._credential(table),
            None if ca_file is None else self._file(ca_file),
            self._settings(table),
        )

    def _credential(self, table: _TableOfFile) -> Place | None:
        given = [key for key in _CREDENTIALS if key in table.value]
        if len(given) > 1:
            raise table.fault(given[1], f"it cannot be combined with {given[0]}", "keep one of them")
        file = table.get("credential_file", _is_text, "the name of a file")
        if file is not None:
            return CredentialFile(self._file(file))
        name = table.get("credential_keyring", _is_text, "the name under which the keyring has it")
        if name is not None:
            return CredentialOfKeyring(name)
        command = table.get(
            "credential_command", _is_command, 'a command: "pass show contactsync", or a list of its words'
        )
        if command is None:
            return None
        try:
            return CredentialCommand(tuple(shlex.split(command) if isinstance(command, str) else command))
        except ValueError as error:
            raise table.fault("credential_command", "a quotation mark is missing", "close it") from error

    def _source(self, table: _TableOfFile) -> ConfiguredSource:
        path, url = (table.get(key, _is_text, "text") for key in ("path", "url"))
        name = table.name.partition(".")[2]
        if (path is None) == (url is None):
            hint = "give the path of a file or folder, or the url of an account"
            raise table.fault("path", "exactly one of path and url is needed", hint)
        access = {
            "password_file": table.get("password_file", _is_text, "the name of a file"),
            "password_command": table.get("password_command", _is_text, "a command"),
            "auth": table.get("auth", _is_text, "text"),
            "ca_file": table.get("ca_file", _is_text, "the name of a file"),
            "allow_plain_http": table.get("allow_plain_http", _is_flag, "true or false"),
        }
        given = {key: one for key, one in access.items() if one is not None}
        choices = self._choices(table)
        if path is not None:
            for key in given:
                raise table.fault(key, "a file needs no such key", "it belongs to a source with a url")
            return ConfiguredSource(name, str(self._file(path)), choices=choices)
        self._check_account(table, url, given)
        for key in ("password_file", "ca_file"):
            if key in given:
                given[key] = self._file(given[key])
        return ConfiguredSource(name, url, is_remote=True, access=given, choices=choices)

    def _check_account(self, table: _TableOfFile, url: str, given: Mapping[str, Any]) -> None:
        from contactsync.commands._books import AUTHENTICATION, is_remote

        if not is_remote(url):
            raise table.fault("url", "not the address of an account", "write carddav://USER@HOST, or a path")
        if given.get("auth", AUTHENTICATION[0]) not in AUTHENTICATION:
            raise table.fault("auth", "unknown", f"one of {', '.join(AUTHENTICATION)}")
        if "password_file" in given and "password_command" in given:
            reason = "it cannot be combined with password_file"
            raise table.fault("password_command", reason, "keep one of them")

    def _settings(self, table: _TableOfFile) -> dict[str, Any]:
        """The settings of a table, as their options of `sync` convert them."""
        found: dict[str, Any] = {}
        for key in SETTINGS:
            if key not in table.value:
                continue
            value = table.value[key]
            if isinstance(value, dict | list) or isinstance(value, bool) is not (key == "cover"):
                raise table.fault(key, "not a value of this setting", f"see --{_dashed(key)} of `sync`")
            try:
                kind = self._types.get(key)
                found[key] = value if kind is None else kind.convert(str(value), None, None)
            except click.BadParameter as error:
                hint = f"see --{_dashed(key)} of `contactsync sync --help`"
                raise table.fault(key, error.message.rstrip("."), hint) from error
        return found

    def _file(self, text: str) -> Path:
        """A path of the file: `~` is the home folder, and what is relative begins where the file is."""
        return self._path.parent.absolute() / Path(os.path.expandvars(text)).expanduser()


@dataclass(frozen=True, slots=True)
class _TableOfFile:
    """A table of the file, whose keys are known."""

    path: Path
    name: str
    value: dict[str, Any]
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        for key in self.value:
            if key not in self.keys:
                near = difflib.get_close_matches(key, self.keys, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(self.keys)}"
                raise self.fault(_shown(key), "there is no such key", hint)

    def get(self, key: str, fits: Callable[[Any], bool], what: str, default: Any = None) -> Any:
        """The value of a key, if it is what it must be. Raises BadInput."""
        value = self.value.get(key, default)
        if key in self.value and not fits(value):
            raise self.fault(key, f"this must be {what}", "see `contactsync config init --help`")
        return value

    def fault(self, key: str, reason: str, hint: str) -> BadInput:
        """The error for a key."""
        place = f"[{self.name}] {key}" if self.name else key
        return BadInput(f"{self.path}: {place}: {reason}", hint=hint)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_text_or_list(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_command(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) for one in value) and value[0] != ""
    return _is_text(value) and bool(value.strip())


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def _shown(key: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in key)[:40]
