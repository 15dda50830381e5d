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
from contactsync.commands.server._machines import cluster_of, executor_options
from contactsync.commands.server._published import receipt, say_outcomes
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    json_option,
    key_passphrase_option,
    keyring_of,
    passphrase_of,
    passphrase_of_key,
    passphrase_option,
)
from contactsync.commands.server.storing import store_option
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.operating import DataFolder, Keyring
    from contactsync.library.publishing import Cluster, Order
    from contactsync.library.signing import SigningRequest

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
@click.option(
    "--rewrite",
    is_flag=True,
    help="Write the bases of large partitions that have patches, and do not wait until these are long.",
)
@json_option
@memory_option
@executor_options
@offline_targets_option
@click.option(
    "--every",
    type=Duration(at_least=1),
    metavar="TIME",
    help="Go on until stopped, and publish whenever this time is over and members have changed (10m, 1h).",
)
@click.option(
    "--editions",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Publish N editions, whether or not anything has changed: after a restore of an older public/, to"
    " get above what clients have seen.",
)
@click.option(
    "--private-lookup",
    type=click.Choice(["yes", "no"]),
    help="Whether this publish, and each one after it, makes rows for private look-up as well; written to"
    " server.toml.",
)
@store_option
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
    rewrite: bool,
    as_json: bool,
    memory: int,
    executor: str | None,
    executor_key: Path | None,
    executor_tls: Path | None,
    request_file: Path | None,
    every: float | None,
    editions: int | None,
    private_lookup: str | None,
    store_url: str | None,
    attached: bool,
) -> None:
    """Publish the contents of the registry in one atomic step. A running server serves them at once.

    If it is interrupted, the previous publication stays in place; run it again. In a rotation it updates both
    epochs; the first one after the overlap ends the rotation.
    """
    from contactsync.commands.server.publish_loop import Stop, passphrase_from_pipe, publish_every
    from contactsync.library.operating import Keyring
    from contactsync.library.publishing import Aim, Order, is_due

    folder = folder_of(data)
    cluster = cluster_of(executor, executor_key, executor_tls)
    if editions is not None and (
        new_epoch or expunge or as_json or request_file is not None or every is not None
    ):
        raise click.UsageError("--editions goes with no other way to publish.")
    if request_file is not None and every is None and (expunge or as_json):
        raise click.UsageError("--offline-targets goes with neither --expunge nor --json.")
    if every is not None and (expunge or as_json):
        raise click.UsageError("--every goes with neither --expunge nor --json.")
    if rewrite and (new_epoch or editions is not None or every is not None):
        raise click.UsageError("--rewrite goes with none of --new-epoch, --editions and --every.")
    _write_settings(folder, store_url, private_lookup)  # nothing of the command line can fail now
    if editions is not None:
        keyring = keyring_of(folder, passphrase_file)
        for _ in range(editions):
            run_publish(data, keyring, Order(Aim.ANOTHER), memory, None, cluster=cluster)
        return
    if every is None:
        order = Order(Aim.NEW_EPOCH if new_epoch else Aim.REWRITE if rewrite else Aim.PUBLISH)
        keyring = keyring_of(folder, passphrase_file)
        run_publish(
            data, keyring, order, memory, request_file, expunge=expunge, as_json=as_json, cluster=cluster
        )
        return
    if new_epoch or request_file is not None:
        raise click.UsageError("--every goes with neither --new-epoch nor --offline-targets.")
    stdin = 0 if attached else None  # of the server that this belongs to
    stop = Stop(stdin)
    passphrase = passphrase_of(folder, passphrase_file) if stdin is None else passphrase_from_pipe(stdin)

    def once() -> None:  # the keys may have been changed since the last time
        keyring = Keyring.open(folder.keys, passphrase)
        run_publish(data, keyring, Order(Aim.PUBLISH), memory, None, cluster=cluster)

    publish_every(every, once, lambda: is_due(folder), stop)


def _write_settings(folder: DataFolder, store_url: str | None, private_lookup: str | None) -> None:
    from contactsync.library.publishing import switch_private_lookup
    from contactsync.library.storing import name_store

    if store_url is not None:
        name_store(folder, store_url)
    if private_lookup is not None:
        switch_private_lookup(folder, on=private_lookup == "yes")


def run_publish(
    data: Path,
    keyring: Keyring,
    order: Order,
    memory: int,
    request_file: Path | None,
    *,
    expunge: bool = False,
    as_json: bool = False,
    cluster: Cluster | None = None,
) -> None:
    """Follow an order here or, with `request_file`, by having it signed elsewhere; print what was done."""
    from contactsync.library.publishing import age_warnings, follow_order
    from contactsync.library.signing import root_of, write_request

    folder = folder_of(data)
    before = root_of(folder).octets
    with ProgressLine() as progress:
        done = follow_order(
            folder,
            keyring,
            order,
            memory=memory,
            progress=progress,
            expunge=expunge,
            elsewhere=request_file is not None,
            cluster=cluster,
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
    from contactsync.library.signing import (
        SHOWN_KEY,
        about_signatures,
        describe,
        read_request,
        shown_keys,
        signers_at,
        write_request,
    )

    request = read_request(request_file)

    def passphrase(place: str, is_locked: bool) -> bytes | None:
        return passphrase_of_key(place, key_passphrase_file, is_locked=is_locked)

    signers = signers_at(request, places, passphrase)
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
    from contactsync.library.signing import finish as bring_into_force
    from contactsync.library.signing import root_of

    folder = folder_of(data)
    before = root_of(folder).octets
    done = bring_into_force(folder, lambda: keyring_of(folder, passphrase_file), files)
    for audience, manifest in sorted(done.manifests.items()):
        click.echo(
            f"{audience}: epoch {manifest.epoch}, edition {manifest.edition}: "
            f"{counted(manifest.count, 'member', 'members')} in "
            f"{counted(len(manifest.partitions), 'partition', 'partitions')}"
        )
    if done.role is not None:
        click.echo(f"the keys of the role {done.role} have changed")
    say_root(folder, before)
    if done.unclean is not None:
        raise done.unclean


def somebody_is_there() -> bool:
    """Whether a person can answer at the terminal."""
    return sys.stdin.isatty()


def say_prepared(path: Path, request: SigningRequest) -> None:
    """Print what to do with a request."""
    from contactsync.library.fingerprints import grouped
    from contactsync.library.signing import about_signatures

    click.echo(f"prepared in {path}, not yet in force; next: sign, finish")
    click.echo(f"fingerprint of the request {grouped(request.fingerprint())}")
    for line in about_signatures(request):
        click.echo(line, err=True)


def say_root(folder: DataFolder, before: bytes) -> None:
    """That the root is another one than `before`, and that it has expired."""
    from contactsync.library.fingerprints import grouped, root_fingerprint
    from contactsync.library.signing import root_of

    root = root_of(folder)
    if root.octets != before:
        shown = grouped(root_fingerprint(root.octets))
        click.echo(f"the root was renewed; from now on its fingerprint is {shown}", err=True)
    if root.expires < datetime.now(UTC):
        click.echo(
            "warning: the root metadata has expired, so clients refuse it: publish where its keys are, or"
            " with --offline-targets",
            err=True,
        )
