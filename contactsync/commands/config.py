"""`contactsync config …`: write, show and check the configuration file."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands._configuration import Configuration, ConfiguredServer, config_option, load_settings
from contactsync.commands._credentials import CredentialCommand, CredentialFile, CredentialOfKeyring
from contactsync.commands._options import json_option, open_state, read_credential, state_option
from contactsync.foundation.errors import BadInput, ContactSyncError

if TYPE_CHECKING:
    from contactsync.library.state import State

TEMPLATE = Path(__file__).with_name("template.toml")


@click.group()
def config() -> None:
    """The configuration file: with it, `contactsync sync` alone does it all.

    It names the servers, where their credentials are, the address books and the region. It lies in the user's
    configuration folder, or where --config or CONTACTSYNC_CONFIG says. What a command line says goes before
    what the file says.
    """


@config.command()
@config_option
def init(config_file: Path | None) -> None:
    """Write a template, in which every setting is explained and switched off. Nothing is overwritten."""
    from contactsync.commands._configuration import default_path
    from contactsync.foundation import durable

    path = (default_path() if config_file is None else config_file).absolute()
    if path.exists():
        raise BadInput(f"{path} is there already", hint="edit it, or give another --config FILE")
    try:
        durable.private_folder(path.parent)
        durable.write(path, TEMPLATE.read_bytes())
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}", hint="give another --config FILE") from error
    click.echo(f"written: {path}")
    click.echo("open it in an editor; `contactsync config check` says what is missing", err=True)


@config.command()
@config_option
@json_option
def show(config_file: Path | None, *, as_json: bool) -> None:
    """Show what the file says: servers, address books and settings. No credential is read or shown."""
    found = load_settings(config_file)
    value = _described(found)
    if as_json:
        _json.emit(value)
        return
    click.echo(
        f"file         {found.path}" + ("" if found.exists else " (there is none; config init writes one)")
    )
    click.echo(f"region       {found.region or 'of the locale'}")
    click.echo(f"names        {'kept' if found.keep_results else 'not kept'}")
    _show_settings("setting      ", value["settings"])
    for source in value["sources"]:
        click.echo(f"source       {source['name']}: {source['address']}")
    for server in value["servers"]:
        click.echo(f"server       {server['name']}: {server['url']}")
        click.echo(f"  credential {server['credential'] or 'none'}")
        if server["ca_file"]:
            click.echo(f"  ca_file    {server['ca_file']}")
        _show_settings("  setting    ", server["settings"])


@config.command()
@config_option
@state_option
@json_option
def check(config_file: Path | None, state_folder: Path | None, *, as_json: bool) -> None:
    """Check the file, and that what it names is there: address books, credentials, trusted servers.

    Each problem is a line that names the table and the key. The exit code is 3 if there is one. Nothing is
    sent, and no command is run.
    """
    found = load_settings(config_file)
    if not found.exists:
        hint = "write one with `contactsync config init`"
        raise BadInput(f"there is no configuration file {found.path}", hint=hint)
    problems = [
        {"where": where, "problem": text, "hint": hint}
        for where, text, hint in _problems(found, state_folder)
    ]
    if as_json:
        _json.emit({"file": str(found.path), "problems": problems})
    for one in problems if not as_json else ():
        click.echo(f"{one['where']}: {one['problem']}" + (f" ({one['hint']})" if one["hint"] else ""))
    if problems:
        click.get_current_context().exit(BadInput.exit_code)
    if not as_json:
        click.echo(f"{found.path}: nothing is missing; `contactsync sync` uses it")


def _described(found: Configuration) -> dict[str, Any]:
    return {
        "file": str(found.path),
        "exists": found.exists,
        "region": found.region,
        "keep_results": found.keep_results,
        "settings": _shown(found.settings),
        "sources": [{"name": one.name, "address": one.address} for one in found.sources.values()],
        "servers": [
            {
                "name": one.name,
                "url": one.url,
                "credential": None if one.credential is None else str(one.credential),
                "ca_file": None if one.ca_file is None else str(one.ca_file),
                "settings": _shown(one.settings),
            }
            for one in found.servers.values()
        ],
    }


def _shown(settings: Any) -> dict[str, Any]:
    """Settings without what may be secret: a proxy's address may hold a password."""
    return {name: _without_password(one) if name == "proxy" else one for name, one in settings.items()}


def _without_password(proxy: str) -> str:
    scheme, mark, rest = proxy.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _show_settings(head: str, settings: dict[str, Any]) -> None:
    for name, one in settings.items():
        click.echo(f"{head}{name} = {one}")


def _problems(found: Configuration, state_folder: Path | None) -> Iterator[tuple[str, str, str]]:
    if not found.servers:
        yield "server", "no server is named", "add a table [server.NAME] with its url"
    if not found.sources:
        yield "source", "no address book is named", "add a table [source.NAME] with its path"
    for source in found.sources.values():
        if not source.is_remote and not os.access(source.address, os.R_OK):
            reason = (
                "it cannot be read" if Path(source.address).exists() else "there is no such file or folder"
            )
            yield (
                f"[source.{source.name}] path",
                f"{source.address}: {reason}",
                "check its name and permissions",
            )
    state = open_state(state_folder)
    for server in found.servers.values():
        for key, error in _problems_of_server(server, state):
            yield f"[server.{server.name}] {key}", str(error), error.hint


def _problems_of_server(server: ConfiguredServer, state: State) -> Iterator[tuple[str, ContactSyncError]]:
    from contactsync.library.trusting import check_route

    with _noted("url") as noted:
        state.server(server.url)
    yield from noted
    with _noted("ca_file") as noted:
        check_route(server.url, proxy="none", ca_file=server.ca_file)
    yield from noted
    with _noted("proxy") as noted:
        check_route(server.url, proxy=server.settings.get("proxy"))
    yield from noted
    credential = server.credential
    with _noted(
        "credential_file" if credential is None or isinstance(credential, CredentialFile) else "credential"
    ) as noted:
        if credential is None:
            raise BadInput("no credential is named", hint="or give it to sync: --credential-file")
        if isinstance(credential, CredentialFile):
            read_credential(credential.path)
        if isinstance(credential, CredentialCommand) and shutil.which(credential.words[0]) is None:
            raise BadInput(f"there is no command {credential.words[0]}", hint="install it, or give its path")
        if isinstance(credential, CredentialOfKeyring) and importlib.util.find_spec("keyring") is None:
            raise BadInput(
                "the package keyring is not installed", hint="run `pip install 'contactsync[keyring]'`"
            )
    yield from noted


@contextlib.contextmanager
def _noted(key: str) -> Iterator[list[tuple[str, ContactSyncError]]]:
    """A list that has the error of the block once it has ended."""
    noted: list[tuple[str, ContactSyncError]] = []
    try:
        yield noted
    except ContactSyncError as error:
        noted.append((key, error))
