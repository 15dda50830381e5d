"""`contactsync server keys …`: who may sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
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
    keyring_of,
    new_passphrase,
    passphrase_of_key,
    passphrase_option,
)
from contactsync.commands.server.passphrase import passphrase
from contactsync.commands.server.publishing import request_path, say_prepared, say_root
from contactsync.foundation.errors import BadInput
from contactsync.foundation.roles import OFFLINE, ROLES

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.publication.tuf.ceremony import KeyChange

_LEAST_DIGITS = 8

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
    from contactsync.publication.tuf.repository import Repository
    from contactsync.publication.tuf.summary import SHOWN_KEY

    folder = folder_of(data)
    keyring, repository = keyring_of(folder, passphrase_file), Repository(folder.public)
    root, expires = repository.root(), repository.expiries()
    roles: list[dict[str, Any]] = []
    for role in ROLES:
        files = {one.public_key.keyid: f"tuf-{name}.json" for name, one in keyring.signers([role]).items()}
        named = root.roles[role].keyids
        roles.append(
            {
                "role": role,
                "threshold": root.roles[role].threshold,
                "keys": [{"keyid": keyid, "file": files.get(keyid)} for keyid in named],
                "not_in_force": [
                    {"keyid": keyid, "file": file} for keyid, file in files.items() if keyid not in named
                ],
                "expires": expires[role].isoformat() if role in expires else None,
            }
        )
    if as_json:
        _json.emit({"root_version": root.version, "roles": roles})
        return
    for one in roles:
        until = one["expires"]
        end = f", signed until {datetime.fromisoformat(until):%Y-%m-%d %H:%M} UTC" if until else ""
        click.echo(f"{one['role']}: {one['threshold']} of {len(one['keys'])}{end}")
        for key in one["keys"]:
            click.echo(f"  {key['keyid'][:SHOWN_KEY]}  {key['file'] or 'elsewhere'}")
        for key in one["not_in_force"]:
            file = f"{key['file']}, not in force: not named in the root"
            click.echo(f"  {key['keyid'][:SHOWN_KEY]}  {file}")


@keys.command("new")
@role_argument
@click.argument("file", type=key_file)
@key_passphrase_option
@no_passphrase_option
def new_key(role: str, file: Path, key_passphrase_file: Path | None, *, no_passphrase: bool) -> None:
    """Generate a key for ROLE away from the server: the key in FILE (0600), its public half in FILE.pub.

    Give FILE.pub to the operator, for `keys add` or `keys rotate`, and tell them the id over another channel.
    """
    from contactsync.server.exported import new_secret, write_key, write_public

    secret = new_secret()
    passphrase = new_passphrase(key_passphrase_file, none=no_passphrase)
    written = write_key(file, role, secret, passphrase, root=None)
    write_public(file.with_name(f"{file.name}.pub"), role, secret)
    click.echo(f"{written.keyid}\t{role}")


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
    from contactsync.library.fingerprints import root_fingerprint
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.exported import write_key
    from contactsync.server.settings import LOCK_WAIT

    if remove and role not in OFFLINE:
        raise BadInput(f"`serve` needs the key of the role {role} here", hint="export it without --remove")
    folder = folder_of(data)
    keyring, repository = keyring_of(folder, passphrase_file), Repository(folder.public)
    here = [signer.public_key.keyid for signer in keyring.signers([role]).values()]
    if not here:
        raise BadInput(f"no key of the role {role} is here", hint="`server keys list`")
    if keyids is None and len(here) > 1:
        raise BadInput(f"several keys of the role {role} are here", hint="choose one with --key")
    keyid = _one(here, keyids, role) if keyids else here[0]
    passphrase = new_passphrase(key_passphrase_file, none=no_passphrase)
    root = root_fingerprint(repository.root_bytes())
    with folder.lock(wait=LOCK_WAIT):
        write_key(file, role, keyring.secret_of(role, keyid), passphrase, root)
        if remove:
            keyring.remove_keys(role, [keyid])
    click.echo(f"{keyid}\t{role}")
    if remove:
        click.echo(f"removed from {folder.keys}; keep a copy of {file}", err=True)


@keys.command("import")
@click.argument("file", type=key_file)
@data_option
@passphrase_option
@key_passphrase_option
def import_key(
    file: Path, data: Path, passphrase_file: Path | None, key_passphrase_file: Path | None
) -> None:
    """Put an exported key back into keys/, if the root names it for its role."""
    from contactsync.publication.tuf.repository import Repository
    from contactsync.publication.tuf.summary import SHOWN_KEY
    from contactsync.server.exported import ExportedKey
    from contactsync.server.settings import LOCK_WAIT

    folder = folder_of(data)
    keyring, key = keyring_of(folder, passphrase_file), ExportedKey.read(file)
    if key.keyid not in Repository(folder.public).root().roles[key.role].keyids:
        raise BadInput(
            f"the root of this server does not name {key.keyid[:SHOWN_KEY]} for the role {key.role}",
            hint="it belongs to another server or was removed; add a new key with `keys add --public`",
        )
    secret = key.secret(passphrase_of_key(str(file), key_passphrase_file, is_locked=key.is_locked))
    with folder.lock(wait=LOCK_WAIT):
        keyring.add_key(key.role, secret)
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
    change = _change_of(data, role, leave=(), public_files=public_files, threshold=threshold)
    _apply(data, passphrase_file, change, request_file, draw=not public_files)


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
    change = _change_of(data, role, leave=keyids or None, public_files=public_files, threshold=threshold)
    _apply(data, passphrase_file, change, request_file, draw=not public_files)


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
    change = _change_of(data, role, leave=keyids, public_files=(), threshold=threshold)
    _apply(data, passphrase_file, change, request_file, draw=False)


def _change_of(
    data: Path,
    role: str,
    *,
    leave: Sequence[str] | None,
    public_files: Sequence[Path],
    threshold: int | None,
) -> KeyChange:
    """The change that was asked for. `leave` is as `_one` takes it; None is all keys of the role."""
    from contactsync.publication.tuf.ceremony import KeyChange
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.exported import read_public

    named = Repository(folder_of(data).public).root().roles[role].keyids
    return KeyChange(
        role,
        leave=named if leave is None else [_one(named, digits, role) for digits in leave],
        join=[read_public(file, role) for file in public_files],
        threshold=threshold,
    )


def _apply(
    data: Path, passphrase_file: Path | None, change: KeyChange, request_file: Path | None, *, draw: bool
) -> None:
    """Change keys, or prepare it."""
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.prepared import change_keys, write_request

    folder = folder_of(data)
    keyring, repository = keyring_of(folder, passphrase_file), Repository(folder.public)
    before = repository.root_bytes()
    request = change_keys(folder, keyring, change, draw=draw, elsewhere=request_file is not None)
    if request is not None:
        assert request_file is not None
        write_request(request_file, request)
        say_prepared(request_file, request)
        return
    role = repository.root().roles[change.role]
    count = counted(len(role.keyids), "key", "keys")
    click.echo(f"the role {change.role} has {count}, of which {role.threshold} must sign")
    say_root(folder, before)


def _one(keyids: list[str], digits: str, role: str) -> str:
    """The key whose id begins with these digits, or whose public half is in this file. Raises BadInput."""
    from contactsync.server.exported import read_public

    if Path(digits).is_file():
        digits = read_public(Path(digits), role).keyid
    found = [keyid for keyid in keyids if keyid.startswith(digits.lower())]
    if len(digits) < _LEAST_DIGITS or len(found) != 1:
        raise BadInput(
            f"{digits} names no key of the role" if not found else f"{digits} names several keys",
            hint=f"give at least {_LEAST_DIGITS} digits of an id that `server keys list` shows",
        )
    return found[0]
