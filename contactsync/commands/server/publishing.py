"""`contactsync server publish`, `sign` and `finish`: what is signed here, and what elsewhere."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands import _json
from contactsync.commands._options import Duration, Size
from contactsync.commands._output import counted
from contactsync.commands._progress import ProgressLine
from contactsync.commands.server._published import receipt, say_outcomes
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    json_option,
    key_passphrase_option,
    keyring_of,
    members_of_folder,
    passphrase_of,
    passphrase_of_key,
    passphrase_option,
)
from contactsync.foundation.errors import BadInput, NotCleanedUp
from contactsync.foundation.roles import OFFLINE

if TYPE_CHECKING:  # numpy hangs on these
    from securesystemslib.signer import Signer

    from contactsync.library.publishing import Order
    from contactsync.publication.tuf.request import SigningRequest
    from contactsync.server.keyring import Keyring
    from contactsync.server.settings import DataFolder

request_path = click.Path(path_type=Path, dir_okay=False)
memory_option = click.option(
    "--memory",
    type=Size(at_least=16_000_000),
    default="512M",
    show_default=True,
    metavar="SIZE",
    help="About what the builds that run at once may use; beyond it the disk is used, 26 bytes a member.",
)
offline_targets_option = click.option(
    "--offline-targets",
    "request_file",
    type=request_path,
    metavar="REQUEST",
    help="Publish nothing yet: write to REQUEST what has to be signed elsewhere. `sign` it, then `finish`.",
)


@click.command()
@data_option
@passphrase_option
@click.option(
    "--new-epoch",
    is_flag=True,
    help="In an emergency: generate new VOPRF keys, evaluate every member again, and replace the old ones at"
    " once. `rotate` does it with an overlap.",
)
@click.option(
    "--expunge",
    is_flag=True,
    help="Take every file out of service at once that may hold the token of somebody who was removed. Clients"
    " then fetch whole partitions, not changes.",
)
@json_option
@memory_option
@offline_targets_option
@click.option(
    "--every",
    type=Duration(at_least=1),
    metavar="TIME",
    help="Go on until stopped, and publish whenever this time is over and members have changed (10m, 1h).",
)
@click.option(
    "--attached",
    is_flag=True,
    help="For `serve --publish-every`: read the passphrase from stdin, and end when stdin does.",
)
def publish(
    data: Path,
    passphrase_file: Path | None,
    *,
    new_epoch: bool,
    expunge: bool,
    as_json: bool,
    memory: int,
    request_file: Path | None,
    every: float | None,
    attached: bool,
) -> None:
    """Publish the contents of the registry in one atomic step. A running server serves them at once.

    If it is interrupted, the previous publication stays in place; run it again. In a rotation it updates both
    epochs; the first one after the overlap ends the rotation.
    """
    from contactsync.commands.server.publish_loop import Stop, passphrase_from_pipe, publish_every
    from contactsync.library.publishing import Aim, Order
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.belonging import doubts_of
    from contactsync.server.keyring import Keyring

    folder = folder_of(data)
    if every is None:
        order = Order(Aim.NEW_EPOCH if new_epoch else Aim.PUBLISH)
        if request_file is not None and (expunge or as_json):
            raise click.UsageError("--offline-targets goes with neither --expunge nor --json.")
        keyring = keyring_of(folder, passphrase_file)
        run_publish(data, keyring, order, memory, request_file, expunge=expunge, as_json=as_json)
        return
    if expunge or as_json:
        raise click.UsageError("--every goes with neither --expunge nor --json.")
    if new_epoch or request_file is not None:
        raise click.UsageError("--every goes with neither --new-epoch nor --offline-targets.")
    stdin = 0 if attached else None  # of the server that this belongs to
    stop = Stop(stdin)
    passphrase = passphrase_of(folder, passphrase_file) if stdin is None else passphrase_from_pipe(stdin)

    def once() -> None:  # the keys may have been changed since the last time
        run_publish(data, Keyring.open(folder.keys, passphrase), Order(Aim.PUBLISH), memory, None)

    def has_changed() -> bool:
        with members_of_folder(data) as store:
            return bool(store.touched(store.serial()) or doubts_of(store, Repository(folder.public)))

    publish_every(every, once, has_changed, stop)


def run_publish(
    data: Path,
    keyring: Keyring,
    order: Order,
    memory: int,
    request_file: Path | None,
    *,
    expunge: bool = False,
    as_json: bool = False,
) -> None:
    """Follow an order here or, with `request_file`, by having it signed elsewhere; print what was done."""
    from contactsync.library.publishing import age_warnings, follow_order
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.prepared import write_request

    folder = folder_of(data)
    before = Repository(folder.public).root_bytes()
    with ProgressLine() as progress:
        done = follow_order(
            folder,
            keyring,
            order,
            memory=memory,
            progress=progress,
            expunge=expunge,
            elsewhere=request_file is not None,
        )
    for reason in done.doubts.values():
        click.echo(f"warning: {reason}; every partition was compared", err=True)
    if done.remains:
        click.echo(f"warning: what was removed is not yet erased: {done.remains}", err=True)
    if as_json:
        _json.emit(receipt(done, expunge=expunge))
    else:
        without_change = "signed anew" if request_file is None else "to be signed anew"
        say_outcomes(done.outcomes, without_change, done.reports)
    if request_file is not None:
        assert done.request is not None
        write_request(request_file, done.request)
        say_prepared(request_file, done.request)
    else:
        if expunge and not as_json:
            files = counted(done.files_taken_out, "file is", "files are")
            click.echo(f"{files} out of service; none that is served holds who was removed")
        for warning in age_warnings(folder):
            click.echo(f"warning: {warning}", err=True)
        say_root(folder, before)
    if done.unclean is not None:
        raise done.unclean


@click.command()
@click.argument("request_file", metavar="REQUEST", type=request_path)
@click.option(
    "--keys",
    "places",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="PATH",
    help="A key that was exported or made by `keys new`, a folder of such, or a server's keys/. Repeatable.",
)
@key_passphrase_option
@click.option("--yes", is_flag=True, help="Sign without asking (for scripts).")
def sign(
    request_file: Path, places: tuple[Path, ...], key_passphrase_file: Path | None, *, yes: bool
) -> None:
    """Sign what a server has prepared in REQUEST. Run it where the keys are, away from the server.

    Shows what is to be signed, asks, and adds to REQUEST one signature for each key that may sign. Pass
    REQUEST to the next person, or take it back to the server and run `finish`. It contains no secrets.
    """
    from contactsync.publication.tuf.summary import SHOWN_KEY, about_signatures, describe, shown_keys
    from contactsync.server.prepared import read_request, write_request

    request = read_request(request_file)
    signers = _signers(request, places, key_passphrase_file)
    keyids = [signer.public_key.keyid for signer in signers.values()]
    for line in (*describe(request), "", *about_signatures(request), f"your keys: {shown_keys(keyids)}"):
        click.echo(line)
    unsigned = {keyid for asked in request.signatures() for one in asked for keyid in one.unsigned}
    if not unsigned.intersection(keyids):
        raise BadInput(
            "these keys have already signed it", hint="pass it to the next person, or run `finish`"
        )
    if not yes:
        if not somebody_is_there():
            raise BadInput("there is no terminal to confirm it", hint="use --yes to sign what was shown")
        if not click.confirm("Sign it?", err=True):
            raise BadInput("not signed", hint="ask whoever prepared the request")
    new = request.sign(signers)
    write_request(request_file, request)
    for role, keyid in new:
        click.echo(f"signed {role} with {keyid[:SHOWN_KEY]}")
    for line in about_signatures(request):
        click.echo(line, err=True)


@click.command()
@click.argument("files", metavar="REQUEST...", nargs=-1, required=True, type=request_path)
@data_option
@passphrase_option
def finish(files: tuple[Path, ...], data: Path, passphrase_file: Path | None) -> None:
    """Bring into force what was last prepared here and has been signed in REQUEST.

    Copies that were signed separately may be given together. The switch is one atomic step. It is refused,
    and nothing changes, if signatures are missing, if REQUEST is not the last one prepared, or if something
    was published or keys were changed in the meantime.
    """
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.prepared import Preparation, finish_change
    from contactsync.server.publishing.publisher import Publisher

    folder = folder_of(data)
    prepared = Preparation.read(folder)
    if prepared is None:
        raise BadInput(
            "nothing is prepared here, or it is already finished",
            hint="prepare it with `publish --offline-targets` or `keys … --request`",
        )
    prepared.take(files)
    keyring = keyring_of(folder, passphrase_file)
    before, unclean = Repository(folder.public).root_bytes(), None
    if prepared.serial is None:
        finish_change(folder, keyring, prepared)
    else:
        with members_of_folder(data) as store:
            try:
                Publisher(folder, store, keyring).finish(prepared.request, prepared.serial)
            except NotCleanedUp as error:  # it is published: say so first
                unclean = error
    prepared.remove(folder)
    for audience, manifest in sorted(prepared.request.of(prepared.request.targets).items()):
        click.echo(
            f"{audience}: epoch {manifest.epoch}, edition {manifest.edition}: "
            f"{counted(manifest.count, 'member', 'members')} in "
            f"{counted(len(manifest.partitions), 'partition', 'partitions')}"
        )
    if prepared.role is not None:
        click.echo(f"the keys of the role {prepared.role} have changed")
    say_root(folder, before)
    if unclean is not None:
        raise unclean


def somebody_is_there() -> bool:
    """Whether a person can answer at the terminal."""
    return sys.stdin.isatty()


def say_prepared(path: Path, request: SigningRequest) -> None:
    """Print what to do with a request."""
    from contactsync.library.fingerprints import grouped
    from contactsync.publication.tuf.summary import about_signatures

    click.echo(f"prepared in {path}, not yet in force; next: sign, finish")
    click.echo(f"fingerprint of the request {grouped(request.fingerprint())}")
    for line in about_signatures(request):
        click.echo(line, err=True)


def say_root(folder: DataFolder, before: bytes) -> None:
    """That the root is another one than `before`, and that it has expired."""
    from contactsync.library.fingerprints import grouped, root_fingerprint
    from contactsync.publication.tuf.repository import Repository

    repository = Repository(folder.public)
    if repository.root_bytes() != before:
        shown = grouped(root_fingerprint(repository.root_bytes()))
        click.echo(f"the root was renewed; from now on its fingerprint is {shown}", err=True)
    if repository.expiries()["root"] < datetime.now(UTC):
        click.echo(
            "warning: the root metadata has expired, so clients refuse it: publish where its keys are, or"
            " with --offline-targets",
            err=True,
        )


def _signers(
    request: SigningRequest, places: tuple[Path, ...], passphrase_file: Path | None
) -> dict[str, Signer]:
    """The keys at these places that the request asks for. Raises BadInput if there is none."""
    from contactsync.library.fingerprints import root_fingerprint
    from contactsync.publication.tuf.summary import shown_keys
    from contactsync.server.exported import keys_in
    from contactsync.server.keyring import Keyring

    asked = {key for one in request.signatures() for each in one for key in (*each.signed, *each.unsigned)}
    known = {root_fingerprint(root.to_bytes()) for root in request.roots}
    found: dict[str, Signer] = {}
    keyrings = [place for place in places if (place / "keyring.json").exists()]
    for place in keyrings:
        secret = passphrase_of_key(f"{place}", passphrase_file, is_locked=Keyring.is_locked(place))
        signers = Keyring.open(place, secret).signers(OFFLINE)
        found |= {f"{place}/{name}": one for name, one in signers.items() if one.public_key.keyid in asked}
    for key in keys_in([place for place in places if place not in keyrings]):
        if key.keyid not in asked:
            continue
        if key.root is not None and key.root not in known:
            raise BadInput(
                f"the key in {key.path} was exported under a root that does not precede this request's root",
                hint="do not sign: this may be an attempt to show you another server",
            )
        secret = passphrase_of_key(f"{key.path}", passphrase_file, is_locked=key.is_locked)
        found[str(key.path)] = key.signer(secret)
    if not found:
        raise BadInput(
            "none of these keys may sign this request",
            hint=f"it can be signed by {shown_keys(sorted(asked))}",
        )
    return found
