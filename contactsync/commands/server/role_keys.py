"""`contactsync server keys …`: who may sign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    json_option,
    key_passphrase_option,
    new_passphrase,
    passphrase_of,
    passphrase_of_key,
    passphrase_option,
)
from contactsync.commands.server.passphrase import passphrase
from contactsync.commands.server.publishing import request_path, say_prepared, say_root
from contactsync.foundation.roles import ROLES

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.keys import RoleKeys, RoleOfKeys

role_argument = click.argument("role", type=click.Choice(ROLES))
key_file = click.Path(path_type=Path, dir_okay=False)
no_passphrase_option = click.option(
    "--no-passphrase", is_flag=True, help="Write the key unencrypted: anyone with the file can sign."
)
threshold_option = click.option(
    "--threshold",
    type=click.IntRange(1, 99),
    metavar="K",
    help="How many keys of the role must sign from then on (default: as before).",
)
public_option = click.option(
    "--public",
    "public_files",
    type=key_file,
    multiple=True,
    metavar="FILE",
    help="A public key that `keys new` wrote elsewhere. Repeatable. Default: generate a key here.",
)
request_option = click.option(
    "--request",
    "request_file",
    type=request_path,
    metavar="REQUEST",
    help="If keys that must sign are elsewhere: write to REQUEST what they have to sign.",
)


def key_option(meaning: str, *, multiple: bool) -> Callable[[Any], Any]:
    """`--key`, one or several."""
    return click.option("--key", "keyids", multiple=multiple, metavar="ID", help=meaning)


@click.group()
def keys() -> None:
    """Manage the signing keys of the roles root, targets, snapshot and timestamp."""


keys.add_command(passphrase)


@keys.command("list")
@data_option
@passphrase_option
@json_option
def list_keys(data: Path, passphrase_file: Path | None, *, as_json: bool) -> None:
    """List the keys of each role, how many must sign, and which of them are on this machine."""
    from contactsync.library.keys import SHOWN_KEY

    register = _register(data, passphrase_file)
    roles = register.list()
    if as_json:
        _json.emit({"root_version": register.root_version, "roles": [_plain(one) for one in roles]})
        return
    for one in roles:
        end = f", signed until {one.expires:%Y-%m-%d %H:%M} UTC" if one.expires else ""
        click.echo(f"{one.role}: {one.threshold} of {len(one.keys)}{end}")
        for keyid, file in one.keys.items():
            click.echo(f"  {keyid[:SHOWN_KEY]}  {file or 'elsewhere'}")
        for keyid, name in one.not_in_force.items():
            click.echo(f"  {keyid[:SHOWN_KEY]}  {name}, not in force: not named in the root")


def _plain(one: RoleOfKeys) -> dict[str, Any]:
    return {
        "role": one.role,
        "threshold": one.threshold,
        "keys": [{"keyid": keyid, "file": file} for keyid, file in one.keys.items()],
        "not_in_force": [{"keyid": keyid, "file": file} for keyid, file in one.not_in_force.items()],
        "expires": one.expires.isoformat() if one.expires else None,
    }


def _register(data: Path, passphrase_file: Path | None) -> RoleKeys:
    """The keys of a server. Asks for their passphrase if there is one."""
    from contactsync.library.keys import RoleKeys

    folder = folder_of(data)  # not `Server`, which loads all that a server can do
    return RoleKeys(folder, passphrase_of(folder, passphrase_file))


@keys.command("new")
@role_argument
@click.argument("file", type=key_file)
@key_passphrase_option
@no_passphrase_option
def new_key(role: str, file: Path, key_passphrase_file: Path | None, *, no_passphrase: bool) -> None:
    """Generate a key for ROLE away from the server: the key in FILE (0600), its public half in FILE.pub.

    Give FILE.pub to the operator, for `keys add` or `keys rotate`, and tell them the id over another channel.
    """
    from contactsync.library.keys import generate_key

    keyid = generate_key(role, file, new_passphrase(key_passphrase_file, none=no_passphrase))
    click.echo(f"{keyid}\t{role}")


@keys.command("export")
@role_argument
@click.argument("file", type=key_file)
@key_option("The key: first digits of its id, or its FILE.pub (needed if several are here).", multiple=False)
@click.option("--remove", is_flag=True, help="Delete the key here after FILE was written and read back.")
@data_option
@passphrase_option
@key_passphrase_option
@no_passphrase_option
def export_key(
    role: str,
    file: Path,
    data: Path,
    *,
    keyids: str | None,
    passphrase_file: Path | None,
    key_passphrase_file: Path | None,
    remove: bool,
    no_passphrase: bool,
) -> None:
    """Write a key of ROLE to FILE (0600), encrypted with its own passphrase, for `sign` elsewhere.

    `serve` needs the keys of snapshot and timestamp here, so they cannot be removed. A disk may keep traces
    of deleted data: if a key must never have been on this machine, generate it elsewhere (`keys new`).
    """
    register = _register(data, passphrase_file)
    register.check_export(role, remove=remove)
    passphrase = new_passphrase(key_passphrase_file, none=no_passphrase)
    keyid = register.export(role, file, passphrase, key=keyids, remove=remove)
    click.echo(f"{keyid}\t{role}")
    if remove:
        click.echo(f"removed from {folder_of(data).keys}; keep a copy of {file}", err=True)


@keys.command("import")
@click.argument("file", type=key_file)
@data_option
@passphrase_option
@key_passphrase_option
def import_key(
    file: Path, data: Path, passphrase_file: Path | None, key_passphrase_file: Path | None
) -> None:
    """Put an exported key back into keys/, if the root names it for its role."""
    from contactsync.library.keys import ExportedKey

    register, key = _register(data, passphrase_file), ExportedKey.read(file)
    register.check_import(key)
    register.import_key(key, passphrase_of_key(str(file), key_passphrase_file, is_locked=key.is_locked))
    click.echo(f"{key.keyid}\t{key.role}")


@keys.command("add")
@role_argument
@threshold_option
@public_option
@request_option
@data_option
@passphrase_option
def add_key(
    role: str,
    data: Path,
    *,
    passphrase_file: Path | None,
    threshold: int | None,
    public_files: tuple[Path, ...],
    request_file: Path | None,
) -> None:
    """Add keys to ROLE: those of --public, or one generated here."""
    change = {"join": public_files, "threshold": threshold, "draw": not public_files}
    _apply(data, passphrase_file, role, request_file, **change)


@keys.command("rotate")
@role_argument
@key_option(
    "Key to remove: first digits of its id, or its FILE.pub. Repeatable. Default: all of the role.",
    multiple=True,
)
@threshold_option
@public_option
@request_option
@data_option
@passphrase_option
def rotate_key(
    role: str,
    data: Path,
    *,
    passphrase_file: Path | None,
    keyids: tuple[str, ...],
    threshold: int | None,
    public_files: tuple[Path, ...],
    request_file: Path | None,
) -> None:
    """Replace keys of ROLE with those of --public, or with one generated here.

    Clients follow automatically. The change is made at once if the keys that must sign are here: a threshold
    of the root's keys; for a new root, also a threshold of its own keys; and one of new targets keys.
    """
    change = {"join": public_files, "threshold": threshold, "draw": not public_files}
    _apply(data, passphrase_file, role, request_file, leave=keyids or None, **change)


@keys.command("remove")
@role_argument
@key_option("Key to remove: first digits of its id, or its FILE.pub. Repeatable.", multiple=True)
@threshold_option
@request_option
@data_option
@passphrase_option
def remove_key(
    role: str,
    data: Path,
    *,
    passphrase_file: Path | None,
    keyids: tuple[str, ...],
    threshold: int | None,
    request_file: Path | None,
) -> None:
    """Remove keys from ROLE without replacement, or change its --threshold. The last key stays."""
    if not keyids and threshold is None:
        raise click.UsageError("Give --key ID, or --threshold K.")
    _apply(data, passphrase_file, role, request_file, leave=keyids, threshold=threshold)


def _apply(
    data: Path, passphrase_file: Path | None, role: str, request_file: Path | None, **change: Any
) -> None:
    """Change keys (`RoleKeys.change`), or prepare it."""
    from contactsync.library.signing import root_of, write_request

    folder = folder_of(data)
    before = root_of(folder).octets
    done = _register(data, passphrase_file).change(role, elsewhere=request_file is not None, **change)
    if done.request is not None:
        assert request_file is not None
        write_request(request_file, done.request)
        say_prepared(request_file, done.request)
        return
    count = counted(done.count, "key", "keys")
    click.echo(f"the role {role} has {count}, of which {done.threshold} must sign")
    say_root(folder, before)
